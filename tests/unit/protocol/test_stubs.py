"""The stubs of kafka-python's messages are those of the installed version."""

import importlib.util
from pathlib import Path
from types import ModuleType

GENERATOR = Path(__file__).parents[3] / "typings" / "generate.py"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_stubs", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stubs_are_current() -> None:
    module = generator()
    texts = module.stubs()
    assert "consumer/group.pyi" in texts
    for path, text in texts.items():
        assert (module.STUBS / path).read_text() == text, f"{path}: run python typings/generate.py"
