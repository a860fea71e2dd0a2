"""Use libraries once, as the programs of an image do, so that Python writes the bytecode of the imported modules.

    warm_up.py LIBRARY ...

The Dockerfile runs this before it copies paramshare's source, so that a changed source does not repeat it. The bytecode
of each package is then compiled once more in a process of its own: what Python writes at an import depends on the
modules before it, and the layer of torch must be the same whatever is installed beside it.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from importlib import import_module
from pathlib import Path

ALSO_IMPORTED = {
    "dask": "distributed distributed.cli.dask_scheduler distributed.cli.dask_worker prefect_dask",
    "mlflow": "mlflow.cli mlflow.data mlflow.db mlflow.pyfunc mlflow.server.fastapi_app pyarrow.dataset",
    "prefect": "asyncpg prefect.cli prefect.deployments prefect.runner prefect.workers.process uvicorn",
    "torch": "matplotlib.backends.backend_agg matplotlib.figure mlflow.pytorch torch.export",
}


def use_mlflow() -> None:
    """Create a store with a run."""
    client = import_module("mlflow").MlflowClient("sqlite:///store.db")
    run = client.create_run("0")
    client.log_metric(run.info.run_id, "loss", 1.0)
    client.set_terminated(run.info.run_id)


def use_prefect() -> None:
    """Create the application of a server."""
    import_module("prefect.server.api.server").create_app()


def use_torch() -> None:
    """Train a step, and export, write and read a net."""
    torch = import_module("torch")
    net, batch = torch.nn.Linear(2, 1), torch.ones(1, 2)
    net(batch).sum().backward()
    torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9).step()
    torch.export.save(torch.export.export(net, (batch,)), "net.pt2")
    torch.export.load("net.pt2")


def compile_again() -> None:
    """Compile the modules that have bytecode, so that equal sources have equal bytecode."""
    site = Path(sysconfig.get_path("purelib"))
    sources = defaultdict(list)
    for bytecode in sorted(site.rglob("*.pyc")):
        source = bytecode.parents[1] / f"{bytecode.name.partition('.')[0]}.py"
        sources[source.relative_to(site).parts[0]].append(str(source))
        bytecode.unlink()
    compiler = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-i", "-"]
    for files in sources.values():
        subprocess.run(compiler, input="\n".join(files), text=True, check=True)


USES = {"mlflow": use_mlflow, "prefect": use_prefect, "torch": use_torch}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ |= {"HOME": folder, "PREFECT_HOME": folder, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
        for library in sys.argv[1:]:
            for module in ALSO_IMPORTED[library].split():
                import_module(module)
            USES.get(library, lambda: None)()
        os.chdir("/")
    os.environ["PYTHONHASHSEED"] = "0"
    compile_again()
