"""Imports go one way: types <- audio, artifacts <- runtimes <- families <- models <- scheduler <- transcriber, api."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from app.runtimes.registry import BACKENDS

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    {
        "app",
        "app.cores",
        "app.cpu",
        "app.descriptors",
        "app.environment",
        "app.errors",
        "app.files",
        "app.languages",
        "app.memory",
        "app.speed_record",
        "app.transcript",
    },
    {"app.keywords"},
    {"app.logs", "app.metrics", "app.segmenting", "app.subtitles", "app.recognizer"},
    {"app.formats"},
    {"app.audio.blocks", "app.audio.views"},
    {
        "app.audio.limits",
        "app.audio.mpeg",
        "app.audio.ogg",
        "app.audio.raw",
        "app.audio.resampling",
        "app.audio.sndfile",
        "app.audio.ffmpeg",
    },
    {"app.audio.sides"},
    {"app.audio.crosstalk"},
    {"app.audio.channels", "app.audio.formats", "app.audio.lengths", "app.audio.unfinished"},
    {"app.audio.separation"},
    {"app.audio.decoder"},
    {"app.audio", "app.artifacts"},
    {"app.evidence", "app.runtimes.graph"},
    {
        "app.runtimes",
        "app.runtimes.onnx_nodes",
        "app.runtimes.onnx_tables",
        "app.runtimes.onnx",
        "app.runtimes.openvino",
        "app.runtimes.pytorch",
    },
    {"app.runtimes.registry", "app.silero"},
    {"app.live", "app.live.options"},
    {"app.families.family", "app.settings"},
    {"app.families.ctc.decoding", "app.families.ctc.suffixes"},
    {"app.families.ctc.frame_steps", "app.families.ctc.scorer"},
    {"app.families.ctc.beam_search"},
    {"app.families.ctc.letter_model", "app.families.ctc.word_model"},
    {"app.families.ctc.language_model"},
    {"app.families.ctc.spelling", "app.families.ctc.word_bounds", "app.families.ctc.keyword_alignment"},
    {"app.families.ctc.keyword_trie"},
    {"app.families.ctc.keyword_search"},
    {"app.families.ctc.keyword_spotter"},
    {"app.families.ctc.keyword_decoder"},
    {"app.families.ctc.windows"},
    {"app.checkpoints", "app.families.ctc.settings", "app.families.ctc.graph"},
    {"app.families.ctc.checkpoint", "app.families.ctc.keyword_spotting"},
    {"app.families.ctc.recognizer"},
    {"app.families.ctc"},
    {"app.voice_activity", "app.families.whisper.log_mel", "app.families.whisper.vocabulary"},
    {
        "app.families.whisper.settings",
        "app.families.whisper.language",
        "app.families.whisper.windows",
        "app.families.whisper.padding",
    },
    {
        "app.families.whisper.graphs",
        "app.families.whisper.rules",
        "app.families.whisper.alignment",
        "app.families.whisper.operators",
        "app.families.whisper.word_edges",
    },
    {
        "app.families.whisper.search",
        "app.families.whisper.checkpoint",
        "app.families.whisper.modules",
        "app.families.whisper.optimum_graphs",
    },
    {"app.families.whisper.model"},
    {"app.families.whisper.segments"},
    {"app.families.whisper.recognizer"},
    {"app.families.whisper"},
    {"app.families"},
    {"app.models"},
    {"app.jobs", "app.admission", "app.speed"},
    {"app.scheduler"},
    {"app.selection"},
    {"app.merging", "app.quiet_channels"},
    {"app.transcriber"},
    {"app.live.backlog", "app.live.events", "app.live.agreement", "app.live.voice", "app.live.engine"},
    {"app.live.containers", "app.live.utterances"},
    {"app.live.incoming", "app.live.channel"},
    {"app.live.stream"},
    {"app.live.streams"},
    {"app.service"},
    {
        "app.api",
        "app.api.auth",
        "app.api.error_shapes",
        "app.api.errors",
        "app.api.headers",
        "app.api.messages",
        "app.api.metrics",
        "app.api.origins",
        "app.api.paths",
    },
    {"app.api.request_log", "app.api.targets", "app.api.upload", "app.api.health", "app.api.about"},
    {"app.api.forms", "app.api.page"},
    {"app.api.intake"},
    {
        "app.api.event_stream",
        "app.api.openai_forms",
        "app.api.openai_bodies",
        "app.api.outcomes",
        "app.api.deepgram_bodies",
    },
    {"app.api.openai_options", "app.api.live_conversation"},
    {"app.api.realtime_session", "app.api.realtime_events"},
    {"app.api.deepgram_query"},
    {
        "app.api.transcribe",
        "app.api.asr_webservice",
        "app.api.openai",
        "app.api.deepgram",
        "app.api.deepgram_live",
        "app.api.realtime",
        "app.api.vosk",
    },
    {"app.api.description", "app.api.middleware"},
    {"app.main", "app.websocket_connections"},
    {"app.connections"},
    {"app.server"},
    {"app.__main__"},
]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "app").rglob("*.py")), ids=module_name)
def test_app_imports_only_what_lies_below(path: Path) -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    assert module_name(path) in level, "give the new module a layer"
    for name in imports_of(path):
        assert not name.startswith(("scripts", "tests", "locust"))
        assert level.get(name, 0) <= level[module_name(path)], f"{name} lies above"


BACKEND_NAMES = frozenset(BACKENDS)
MAX_LINES = 350


@pytest.mark.parametrize("path", sorted((ROOT / "app").rglob("*.py")), ids=module_name)
def test_a_backend_is_named_in_the_registry_and_nowhere_else(path: Path) -> None:
    named = {
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in BACKEND_NAMES
    }
    assert not named or module_name(path) == "app.runtimes.registry"


@pytest.mark.parametrize("path", sorted((ROOT / "app").rglob("*.py")), ids=module_name)
def test_no_file_is_too_long_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


SERVICES = {"plain_service.py", "plain_whisper_service.py"}
SCRIPTS = [path for path in sorted((ROOT / "scripts").rglob("*.py")) if path.name not in SERVICES]
PACKAGES = {
    "common": set[str](),
    "speech": {"common"},
    "text_generation": {"common", "speech"},
    "language_modeling": {"common", "speech"},
    "exporting": {"common", "speech"},
    "training": {"common", "speech", "exporting"},
    "benchmarking": {"common", "speech", "exporting"},
    "compression": {"common", "speech", "exporting", "training", "benchmarking"},
    "load_testing": {"common", "speech", "benchmarking"},
    "tools": {"common", "speech", "text_generation", "training", "exporting", "benchmarking", "load_testing"},
}
"""The folders under scripts/, each with those that it may import from besides itself. Commands use all but tools."""
COMMANDS = {"benchmark", "compress", "evaluate", "export", "language_model", "load", "train", "transcribe", "tune"}
"""What users need; each other command is a tool."""


@pytest.mark.parametrize("path", SCRIPTS, ids=module_name)
def test_scripts_know_nothing_of_http(path: Path) -> None:
    assert not {name for name in imports_of(path) if name.startswith(("app.api", "app.main", "fastapi"))}


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("*/**/*.py")), ids=module_name)
def test_folders_of_scripts_import_one_way_and_no_command(path: Path) -> None:
    own = path.relative_to(ROOT / "scripts").parts[0]
    allowed = {own} | PACKAGES[own]
    for name in imports_of(path):
        if name.startswith("scripts."):
            assert name.split(".")[1] in allowed, f"{name} lies above"


def test_commands_on_top_are_those_that_users_need_and_use_no_tool() -> None:
    paths = set((ROOT / "scripts").glob("*.py")) - {ROOT / "scripts" / "__init__.py"}
    assert {path.stem for path in paths} == COMMANDS
    assert not [name for path in paths for name in imports_of(path) if name.startswith("scripts.tools")]


@pytest.mark.parametrize("path", sorted((ROOT / "scripts" / "tools").glob("[a-z]*.py")), ids=module_name)
def test_each_tool_is_a_command_that_says_how_it_is_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert f"python scripts/tools/{path.name}" in text
    assert text.endswith('if __name__ == "__main__":\n    main()\n')


def test_serving_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, app.main, app.runtimes.onnx, scripts.transcribe; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "transformers", "datasets", "librosa", "scipy", "optimum", "jiwer", "openvino"}
    assert not heavy & set(loaded.split())
