"""A temporary clone of the working tree with small numbers, in which the pipeline's test runs dvc for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "batch_size": 8,
    "feature_units": 16,
    "hidden_units": 16,
    "tracks": {"training": ["circuit:1", "circuit:2"], "evaluation": ["circuit:1001"], "episodes_per_load": 2},
    "ending": {"time_limit_steps": 40},
    "collect": {"episodes": 4},
    "train": {
        "updates_before_driving": 10,
        "env_steps": 120,
        "memory_steps": 150,
        "checkpoint_every_steps": 20,
        "log_every_updates": 5,
    },
    "evaluate": {"starts": 2, "lap_limit_s": 4.0},
}

# Runs in every Python process of a stage. Writes which params the stage reads, and plays the fault that the
# environment asks for. dataclasses.asdict and replace read every field and do not count.
SITECUSTOMIZE = '''
import os, sys

if os.environ.get("DVC_STAGE"):
    import importlib.machinery


    class Finder:
        """Lets a function look at a module of ours after it was loaded."""

        wanted = {}

        @classmethod
        def find_spec(cls, name, path=None, target=None):
            spec = importlib.machinery.PathFinder.find_spec(name, path) if name in cls.wanted else None
            if spec is not None:
                execute = spec.loader.exec_module

                def exec_module(module):
                    execute(module)
                    cls.wanted[name](module)

                spec.loader.exec_module = exec_module
            return spec


    def record_reads(module):
        import dataclasses, typing

        sections = {kind: name for name, kind in typing.get_type_hints(module.Params).items()
                    if dataclasses.is_dataclass(kind)}
        seen = set()
        for kind, prefix in {module.Params: "", **{k: n + "." for k, n in sections.items()}}.items():
            leaves = {f.name for f in dataclasses.fields(kind)} - set(sections.values())

            def read(self, name, prefix=prefix, leaves=leaves):
                if name in leaves and prefix + name not in seen:
                    if sys._getframe(1).f_globals.get("__name__") not in ("dataclasses", "clipdrive.params"):
                        seen.add(prefix + name)
                        with open(os.path.join(os.environ["PARAMS_READ"], os.environ["DVC_STAGE"]), "a") as file:
                            file.write(prefix + name + "\\n")
                return object.__getattribute__(self, name)

            kind.__getattribute__ = read


    def alter_gradients(module):
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        def scale(optimizer, *_):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(1e4)

        register_optimizer_step_pre_hook(scale)  # before the hooks of the optimiser itself


    if os.environ.get("PARAMS_READ"):
        Finder.wanted["clipdrive.params"] = record_reads
    if os.environ.get("ALTER_GRADIENTS"):
        Finder.wanted["clipdrive.agents.clipping"] = alter_gradients
    sys.meta_path.insert(0, Finder)
'''


class Clone:
    """The clone's folder and the commands that the tests run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "clone"
        self.params_read = folder / "params_read"
        self.environment = _environment(folder)

    def make(self) -> None:
        """Copy what Git knows or would know, make the numbers small, commit."""
        self.params_read.mkdir(parents=True)
        (self.folder / "hook").mkdir()
        (self.folder / "hook" / "sitecustomize.py").write_text(SITECUSTOMIZE)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file() and name != "dvc.lock" and not name.startswith("reports/"):
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        for path in (ROOT / "src").rglob("__pycache__/*.nb[ci]"):  # what numba has compiled is as good here
            target = self.root / path.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(path, target)
        yaml, path = YAML(), self.root / "params.yaml"
        params = yaml.load(path.read_text(encoding="utf-8"))
        for key, value in SMALL.items():
            if isinstance(value, dict):
                params[key].update(value)
            else:
                params[key] = value
        with open(path, "w", encoding="utf-8") as file:
            yaml.dump(params, file)
        self.git("init", "-q", "-b", "main")
        self.commit("small numbers")

    def git(self, *arguments: str) -> str:
        result = self.run("git", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        """Run to the end; stdout and stderr together in stdout."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )

    def dvc(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", "dvc", *arguments, **environment)

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start dvc in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def processes(self) -> dict[int, str]:
        """Processes that run in the clone or below it, by id, with their command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                place = os.readlink(entry / "cwd")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:  # it has ended, or is not ours
                continue
            if command and (place + "/").startswith(f"{self.root}/"):
                found[int(entry.name)] = command
        return found


def ran(output: str) -> list[str]:
    """The stages that dvc ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def _environment(folder: Path) -> dict[str, str]:
    names = ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL")
    drop = ("CLIPDRIVE_STATE", "CLIPDRIVE_WORKERS", "CLIPDRIVE_DEVICE", "DVC_EXP_NAME", "SHELL")
    return {
        **{name: value for name, value in os.environ.items() if name not in drop},
        **{name: "test@example.org" if "EMAIL" in name else "test" for name in names},
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "PYTHONPATH": str(folder / "hook"),
        "PARAMS_READ": str(folder / "params_read"),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / "site"),
    }
