"""The command that serves an export over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muka_fast import __version__
from muka_fast.cli.app import command
from muka_fast.cli.models import device_name
from muka_fast.errors import MachineError


@command
def serve(
    folder: Annotated[Path, typer.Argument(metavar="EXPORT", help="A folder that `export` wrote.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0 for a free one.")] = 8080,
    precision: Annotated[str | None, typer.Option(help="Precision of the graph to use; default: the first.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the model; default: one per core.")] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Texts of waiting requests classified together.")] = 64,
    max_client_batch_size: Annotated[int, typer.Option(min=1, help="Texts of one request.")] = 32,
    max_concurrent_requests: Annotated[
        int, typer.Option(min=1, help="Requests in progress; more get the status 429.")
    ] = 512,
    payload_limit: Annotated[int, typer.Option(min=1, help="Bytes of a request's body.")] = 2_000_000,
    max_characters: Annotated[int, typer.Option(min=1, help="Characters of a text.")] = 100_000,
    auto_truncate: Annotated[
        bool, typer.Option("--auto-truncate/--no-auto-truncate", help="Cut long texts unless a request forbids it.")
    ] = True,
) -> None:
    """Serve an export over HTTP: /predict as text-embeddings-inference has it, /health, /info, /metrics, /docs."""
    from muka_fast.export.onnx_classifier import OnnxClassifier
    from muka_fast.runtime.progress import Progress

    try:
        from muka_fast.serving.app import create_app
        from muka_fast.serving.schema import Limits
        from muka_fast.serving.server import listen, run
    except ModuleNotFoundError as error:
        raise MachineError(
            f"{error.name} is not installed", where=f"package {error.name}", hint="pip install 'muka-fast[serve]'"
        ) from None
    progress = Progress()
    classifier = OnnxClassifier(folder, precision=precision, device=device_name(device), threads=threads)
    if classifier.warning:
        progress.log(classifier.warning)
    classifier.classify(["the first text takes longest"])
    limits = Limits(
        batch=max_batch,
        client_batch=max_client_batch_size,
        concurrent_requests=max_concurrent_requests,
        body_bytes=payload_limit,
        characters=max_characters,
        truncates=auto_truncate,
    )
    app = create_app(folder, classifier, limits, version=__version__)
    with listen(host, port) as listening:
        run(app, listening, lambda address: progress.log(f"serving {folder} on {address}; its page is {address}/docs"))
    progress.log("stopped")
