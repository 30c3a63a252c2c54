"""The demo's cache: built once, never half, and rebuilt when it is old, damaged or about another world."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from sloctl.demo.cache import cache_root, cached_history
from sloctl.errors import UsageError
from tests.support.tiny_world import TINY

NOW = 1_700_000_123.5


def test_second_time_is_the_same_history_in_a_place_of_its_own(tmp_path: Path) -> None:
    texts: list[str] = []
    first = cached_history(
        TINY, tmp_path / "c", tmp_path / "1", NOW, progress=lambda _, text: texts.append(text)
    )
    assert first.end == NOW // 300 * 300
    assert texts
    texts.clear()
    second = cached_history(
        TINY, tmp_path / "c", tmp_path / "2", NOW + 3600, progress=lambda _, text: texts.append(text)
    )
    assert not texts
    assert (second.end, second.state, second.samples) == (first.end, first.state, first.samples)
    assert first.data_dir == tmp_path / "1" / "data"
    (block,) = {path.name for path in first.data_dir.iterdir()} & {
        path.name for path in second.data_dir.iterdir()
    }
    (first.data_dir / block / "meta.json").unlink()
    assert (second.data_dir / block / "meta.json").exists()


def test_an_old_one_is_built_anew_unless_asked_for(tmp_path: Path) -> None:
    first = cached_history(TINY, tmp_path / "c", tmp_path / "1", NOW)
    later = NOW + 13 * 3600
    kept = cached_history(TINY, tmp_path / "c", tmp_path / "2", later, at_cached=True)
    assert kept.end == first.end
    assert cached_history(TINY, tmp_path / "c", tmp_path / "3", later).end == later // 300 * 300
    past = NOW - 86400
    assert cached_history(TINY, tmp_path / "c", tmp_path / "4", past).end == past // 300 * 300


def test_a_damaged_or_interrupted_one_is_built_anew(tmp_path: Path) -> None:
    cached_history(TINY, tmp_path / "c", tmp_path / "1", NOW)
    (home,) = (path for path in (tmp_path / "c").iterdir() if path.is_dir())
    (home / "truth.npz").write_bytes(b"PK\x03\x04 cut")
    left = home.with_name(f".{home.name}-killed")
    left.mkdir()
    later = NOW + 600
    assert cached_history(TINY, tmp_path / "c", tmp_path / "2", later).end == later // 300 * 300
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted(
        [home.name, f"{home.name}.lock"]
    )


def test_another_world_is_another_history(tmp_path: Path) -> None:
    first = cached_history(TINY, tmp_path / "c", tmp_path / "1", NOW)
    other = cached_history(replace(TINY, seed=8), tmp_path / "c", tmp_path / "2", NOW)
    assert first.state != other.state


def test_two_processes_build_once(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from pathlib import Path
        from sloctl.demo.cache import cached_history
        from tests.support.tiny_world import TINY
        root = Path(sys.argv[1])
        texts = set()
        cached_history(TINY, root, Path(sys.argv[2]), {NOW}, progress=lambda _, text: texts.add(text))
        print("simulating" in texts)
        """
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "c", tmp_path / name], stdout=subprocess.PIPE, text=True
        )
        for name in ("1", "2")
    ]
    built = [child.communicate(timeout=60)[0].strip() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sorted(built) == ["False", "True"]
    assert (
        len(list((tmp_path / "1" / "data").iterdir())) == len(list((tmp_path / "2" / "data").iterdir())) > 0
    )


def test_the_place_follows_the_environment(tmp_path: Path) -> None:
    assert cache_root({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "sloctl"
    assert cache_root({}) == cache_root({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache" / "sloctl"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be kept") as caught:
        cached_history(TINY, tmp_path / "file", tmp_path / "1", NOW)
    assert "XDG_CACHE_HOME" in caught.value.hint
