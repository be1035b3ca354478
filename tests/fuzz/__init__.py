"""Fuzzing of the decoder of sound (`app.audio.decode`): mutated real files, in a child process that they may end.

`cases` makes the files, `properties` says what must hold of each, `child` decodes them and watches its process, and
`parent` starts children and goes on behind a case that ended one. `test_decoder` runs the same cases in every
`make test`; `make fuzz` runs new ones for as long as one likes. `broken` has decoders with one defect each.
"""
