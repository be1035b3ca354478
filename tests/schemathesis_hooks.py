"""What schemathesis sends as a file: sound in the formats that the service reads, or any bytes.

`DIKTE_FILES=bytes` asks for the latter. Loaded by schemathesis itself: `SCHEMATHESIS_HOOKS=tests.schemathesis_hooks`.
"""

import os

import schemathesis
from hypothesis import strategies

from tests.sounds import ENCODINGS, MODEL_HZ, speechlike

KINDS = ("wav s16", "flac 16", "ogg opus", "mp3", "m4a, moov last", "webm opus, live", "3gp amr")

if os.environ.get("DIKTE_FILES") == "bytes":
    files = strategies.binary(max_size=1000)
else:
    files = strategies.sampled_from([ENCODINGS[kind](speechlike(0.1), MODEL_HZ) for kind in KINDS])
schemathesis.openapi.format("binary", files)
