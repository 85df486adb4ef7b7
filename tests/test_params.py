"""params.yaml: every key known, typed and in range, read by YAML 1.2's rules, in the form that DVC writes."""

from __future__ import annotations

import copy
import dataclasses
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from clipdrive.params import Params, ParamsError, load_params, params_as_values, params_from

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def values() -> dict:
    return YAML(typ="safe").load(TEXT)


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """A params.yaml with one line changed."""
    assert TEXT.count(f"\n{old}") == 1
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(f"\n{old}", f"\n{new}"), encoding="utf-8")
    return path


def test_the_projects_own_file_is_valid_and_frozen() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.gamma == 0.99
    assert params.clip.critic_cnn == 10.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.gamma = 0.5


def test_values_round_trip_through_plain_values(values: dict) -> None:
    values["clip"]["actor_cnn"] = "none"
    params = params_from(values)
    assert params.clip.actor_cnn is None
    assert params_from(params_as_values(params)) == params


def test_a_mirror_is_refused_where_the_road_has_two_unequal_sides(values: dict) -> None:
    values["tracks"]["follow"], values["mirror"] = "lane", True
    with pytest.raises(ParamsError, match="^mirror: got true with tracks.follow: lane, allowed: false"):
        params_from(values)
    values["mirror"] = False
    assert params_from(values).tracks.follow == "lane"


def test_a_whole_number_will_do_for_a_float_but_not_the_other_way(values: dict) -> None:
    values["clip"]["actor_cnn"] = 2
    assert isinstance(params_from(values).clip.actor_cnn, float)
    values["batch_size"] = 64.0
    with pytest.raises(ParamsError, match=r"^batch_size: got 64.0, allowed: a whole number"):
        params_from(values)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("gamma", "abc", r"^gamma: got 'abc', allowed: a number in \[0, 1\)$"),
        ("gamma", 1.5, r"^gamma: got 1.5, allowed: a number in \[0, 1\)$"),
        ("gamma", 1.0, r"^gamma: got 1.0, allowed"),
        ("gamma", -0.1, r"^gamma: got -0.1, allowed"),
        ("gamma", float("nan"), r"^gamma: got nan, allowed"),
        ("gamma", True, r"^gamma: got True, allowed"),
        ("gamma", None, r"^gamma: got None, allowed"),
        ("tau", 0, r"^tau: got 0, allowed: a number in \(0, 1\]$"),
        ("algorithm", "sac", r"^algorithm: got 'sac', allowed: td3"),
        ("simulator", "none", r"^simulator: got 'none', allowed: bundled \| carla$"),
        ("layer_norm", "yes", r"^layer_norm: got 'yes', allowed: true \| false$"),
        ("layer_norm", 1, r"^layer_norm: got 1, allowed: true \| false$"),
        ("batch_size", True, r"^batch_size: got True, allowed: a whole number"),
        ("clip.actor_cnn", 0.0, r"^clip.actor_cnn: got 0.0, allowed: a number above 0 \| none$"),
        ("clip.actor_cnn", "off", r"^clip.actor_cnn: got 'off', allowed: a number above 0 \| none$"),
        ("tracks.training", [], r"^tracks.training: got \[\], allowed: a list of one or more names$"),
        ("tracks.training", "circuit:1", r"^tracks.training: got 'circuit:1', allowed: a list"),
        ("tracks.folder", "", r"^tracks.folder: got '', allowed: a word$"),
        ("clip", 1.0, r"^clip: got 1.0, allowed: a section with the keys actor_cnn, actor_memory"),
        ("tracks.weather", "WetNoon", r"^tracks.weather: got 'WetNoon', allowed: a list of one or more names \| none$"),
        ("tracks.weather", [], r"^tracks.weather: got \[\], allowed: a list of one or more names \| none$"),
        ("evaluate.weather", ["Sunny"], r"^evaluate.weather: got 'Sunny', allowed: Default, .*, then name:value$"),
        ("evaluate.starts", 1, r"^evaluate.starts: got 1, allowed: a whole number of at least 2$"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(values: dict, key: str, value: object, sentence: str) -> None:
    *section, name = key.split(".")
    (values[section[0]] if section else values)[name] = value
    with pytest.raises(ParamsError, match=sentence) as caught:
        params_from(values)
    assert "\n" not in str(caught.value)


def test_more_rewards_summed_than_the_memory_holds_are_refused(values: dict) -> None:
    values["n_step"], values["train"]["memory_steps"] = 6, 10
    with pytest.raises(ParamsError, match=r"^n_step: got 6, allowed: at most half of train.memory_steps"):
        params_from(values)
    values["n_step"] = 5
    assert params_from(values).n_step == 5


def test_an_unknown_key_is_refused_at_every_level(values: dict) -> None:
    values["gama"] = 0.9
    with pytest.raises(ParamsError, match=r"^gama: got 0.9, an unknown key; allowed: seed, simulator"):
        params_from(values)
    del values["gama"]
    values["clip"]["actor"] = 1.0
    with pytest.raises(ParamsError, match=r"^clip.actor: got 1.0, an unknown key; allowed: actor_cnn"):
        params_from(values)


def test_every_missing_key_is_refused_by_name(values: dict) -> None:
    sections = [(name, list(part)) for name, part in values.items() if isinstance(part, dict)]
    keys = [name for name in values] + [f"{name}.{key}" for name, part in sections for key in part]
    for key in keys:
        cut = copy.deepcopy(values)
        *section, name = key.split(".")
        del (cut[section[0]] if section else cut)[name]
        with pytest.raises(ParamsError, match=rf"^{key}: is missing; allowed: "):
            params_from(cut)


def test_a_file_that_cannot_be_read_or_is_no_yaml_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params.yaml: cannot be read \(No such file or directory\)"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("gamma: [0.9\ntau: 1\n")
    with pytest.raises(ParamsError, match=r"params.yaml: not valid YAML at line \d+: ") as caught:
        load_params(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)
    (tmp_path / "params.yaml").write_text("")
    with pytest.raises(ParamsError, match=r"^params.yaml: got None, allowed: a section"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(("text", "value"), [("1e-05", 1e-5), ("3e-4", 3e-4), ("5.0e-4", 5e-4), ("1", 1.0)])
def test_numbers_are_read_as_yaml_1_2(tmp_path: Path, text: str, value: float) -> None:
    params = load_params(changed(tmp_path, "actor_lr: 0.001", f"actor_lr: {text}"))
    assert params.actor_lr == value and isinstance(params.actor_lr, float)


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "y"])
def test_booleans_are_read_as_yaml_1_2(tmp_path: Path, text: str) -> None:
    with pytest.raises(ParamsError, match=rf"^layer_norm: got '{text}', allowed: true \| false$"):
        load_params(changed(tmp_path, "layer_norm: true", f"layer_norm: {text}"))


def test_the_file_is_in_the_form_that_dvc_writes() -> None:
    """Dumping what was loaded changes nothing, so that `-S` makes a one-line diff."""
    yaml, out = YAML(), io.StringIO()
    yaml.dump(yaml.load(TEXT), out)
    assert out.getvalue() == TEXT


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository with this params.yaml and one stage that does nothing."""
    root = tmp_path_factory.mktemp("repository")
    shutil.copy(ROOT / "params.yaml", root)
    (root / "dvc.yaml").write_text("stages:\n  nothing:\n    cmd: cd .\n    params: [actor_lr]\n")
    (root / ".gitignore").write_text("/.dvc/tmp\n/.dvc/cache\n")
    run(root, "git", "init", "-q", "-b", "main")
    run(root, sys.executable, "-m", "dvc", "init", "-q")
    commit(root)
    return root


def run(root: Path, *command: str) -> str:
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def commit(root: Path) -> None:
    run(root, "git", "add", "-A")
    run(root, "git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-q", "-m", "change")


def test_trap_17_a_rate_set_by_dvc_in_exponent_form_is_a_float(repository: Path, monkeypatch) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    run(repository, sys.executable, "-m", "dvc", "exp", "run", "-S", "actor_lr=1e-5", "-S", "layer_norm=false")
    text = (repository / "params.yaml").read_text()
    assert "\nactor_lr: 1e-05\n" in text  # a string for a reader of YAML 1.1
    params = load_params(repository / "params.yaml")
    assert params.actor_lr == 1e-5 and isinstance(params.actor_lr, float)
    assert params.layer_norm is False
    diff = run(repository, "git", "diff", "--unified=0", "params.yaml").splitlines()
    lines = [line for line in diff if line[0] in "+-" and not line.startswith(("+++", "---"))]
    assert len(lines) == 4, lines  # two lines out, two lines in


def test_what_dvc_lets_through_is_refused_here(repository: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    path = repository / "params.yaml"
    for override, sentence in {
        "+gama=0.9": r"^gama: got 0.9, an unknown key",
        "gamma=abc": r"^gamma: got 'abc'",
        "gamma=": r"^gamma: got ''",
        "gamma=null": r"^gamma: got None",
        "~tau": r"^tau: is missing",
        "layer_norm=yes": r"^layer_norm: got 'yes'",
    }.items():
        path.write_text(TEXT, encoding="utf-8")
        apply_overrides(path, [override])
        with pytest.raises(ParamsError, match=sentence):
            load_params(path)
    path.write_text(TEXT, encoding="utf-8")
    apply_overrides(path, ["clip.actor_cnn=none", "tracks.evaluation=[circuit:7,town.xodr]"])
    params = load_params(path)
    assert params.clip.actor_cnn is None
    assert params.tracks.evaluation == ("circuit:7", "town.xodr")


def test_there_is_a_field_for_every_key_and_no_default() -> None:
    def defaults(cls: type) -> list[str]:
        return [f.name for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING]

    sections = [type(getattr(load_params(ROOT / "params.yaml"), f.name)) for f in dataclasses.fields(Params)]
    for cls in [Params, *(s for s in sections if dataclasses.is_dataclass(s))]:
        assert defaults(cls) == []
