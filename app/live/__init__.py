"""Live recognition: audio comes in pieces, words come while people speak. Free of HTTP and of every protocol.

    pieces -> samples per channel -> voice activity -> utterances -> partials, again and again, and one final

A protocol opens a stream, feeds it, and passes its events on:

    async with streams.open(transcriber, RawAudio("s16le", 16_000), LiveOptions()) as stream:
        await stream.feed(piece)      # bytes of any length; waits while too much is not computed yet
        stream.finalize()             # the running utterance gets its final now; answered by a `Final` on each channel
        stream.finish()               # no more audio: the last utterance gets its final, then the events end

        async for event in stream:    # in a task of its own
            match event:
                case SpeechStarted(): ...
                case Partial(): ...
                case SpeechStopped(): ...
                case Final() | Failed(): ...
                case UtteranceEnd(): ...

A word of a partial is *committed* (later partials keep it) or *volatile*. Finals are computed once, from the whole
utterance, by the same windows and decoder as files. All times are seconds from the start of the stream.

`app.live.streams` opens streams, `app.live.stream` has their methods, `app.live.events` the events, `app.live.incoming`
the kinds of audio, `app.live.options` what a listener may ask.
"""
