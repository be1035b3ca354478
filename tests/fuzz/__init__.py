"""A fuzzer of the audio decoder (`app.audio.decode`): mutated real files, in a child process that may crash.

`cases` makes the files, `properties` checks the result of each, `child` decodes them and watches its own resources, and
`parent` starts children and continues after a case that ended one. `test_decoder` runs the same cases in every `make
test`; `make fuzz` runs new ones for any length of time. `broken` has decoders with one defect each.
"""
