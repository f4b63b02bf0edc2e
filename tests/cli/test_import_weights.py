"""geryon import-weights."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path

import pytest

from geryon.cli import import_weights
from geryon.errors import InputError


@pytest.mark.parametrize("content", [b"no checkpoint", pickle.dumps({"desc": Path("a")}), b""])
def test_a_wrong_file_is_refused_without_advice_to_run_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.tar"
    path.write_bytes(content)
    parser = argparse.ArgumentParser()
    import_weights.arguments(parser)
    args = parser.parse_args(["cerberus", str(path), "--out", str(tmp_path / "out.safetensors")])
    with pytest.raises(InputError, match="is no checkpoint of tensors only") as caught:
        import_weights.run(args)
    assert "weights_only" not in str(caught.value) and "torch.load" not in str(caught.value) and caught.value.mend
