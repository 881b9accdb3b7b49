"""A finished student uploaded to a model hub, in one commit; its scores and texts stay behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muka_fast.errors import MachineError, MukaError, RecipeError, first_line
from muka_fast.pipeline.hub_files import HubFile, collect_files

_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
"""Packages whose errors are those of a connection; which of them huggingface_hub uses depends on its version."""


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    *,
    export: str | Path | None = None,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    endpoint: str | None = None,
) -> list[HubFile]:
    """Upload a student: weights, configuration, tokenizer, model card and recipe, in one commit.

    The repository is created if it does not exist; files that it holds already are replaced or stay. The token is that
    of huggingface_hub: the environment variable ``HF_TOKEN``, or what ``hf auth login`` stored.

    Args:
        folder: Output folder of ``amalgamate``.
        repo_id: The repository, ``owner/name``.
        export: Folder that ``muka-fast export`` wrote of this student; its graphs go to ``onnx/`` of the repository.
        private: Make a new repository private; the visibility of an existing one stays.
        revision: Branch to commit to, created if it does not exist; default: the main branch.
        dry_run: Send nothing, and return the files that would be uploaded.
        endpoint: Address of the hub; default: that of huggingface_hub (``HF_ENDPOINT``).

    Returns:
        The files of the commit, with name and size, sorted by name.

    Raises:
        ModelError: If the folder holds no finished student, a file is damaged, or the export is of another model.
        RecipeError: If the hub refuses the repository's name, the branch or the access to it.
        MachineError: If the hub cannot be reached, or knows no valid token of this machine.
    """
    _require_name(repo_id)
    files = collect_files(Path(folder), repo_id, None if export is None else Path(export))
    if not dry_run:
        _upload(files, repo_id, private, revision, endpoint)
    return files


def _require_name(repo_id: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise RecipeError(first_line(error), where=repo_id, hint="give owner/name") from None
    if "/" not in repo_id:
        raise RecipeError("the repository has no owner", where=repo_id, hint="give owner/name")


def _upload(files: list[HubFile], repo_id: str, private: bool, revision: str | None, endpoint: str | None) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    from muka_fast import __version__

    api = HfApi(endpoint=endpoint, library_name="muka-fast", library_version=__version__)
    additions = [CommitOperationAdd(file.name, file.content) for file in files]
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        api.create_commit(
            repo_id, additions, commit_message=f"Upload a student of muka-fast {__version__}", revision=revision
        )
    except Exception as error:
        known = _explain(error, repo_id, api.endpoint)
        if known is None:
            raise
        raise known from None


def _explain(error: Exception, repo_id: str, endpoint: str) -> MukaError | None:
    """Return what an error of huggingface_hub means; None if it comes from elsewhere."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return MachineError("offline mode is on", where=endpoint, hint="unset HF_HUB_OFFLINE")
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error, repo_id, endpoint)
    if isinstance(error, ValueError) and "README.md" in str(error):
        what = " ".join(str(error).split())
        return RecipeError(what, where=f"{repo_id}: README.md", hint="correct the header of the model card")
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _CLIENTS:
        hint = "check the network and HF_ENDPOINT, and push again"
        return MachineError(f"cannot reach the hub: {first_line(error)}", where=endpoint, hint=hint)
    return None


def _explain_status(error: Any, repo_id: str, endpoint: str) -> MukaError:
    status = getattr(error.response, "status_code", None)
    reason = getattr(error, "server_message", None) or first_line(error)
    if status == 401:
        hint = "run 'hf auth login', or set HF_TOKEN to a token with write access"
        return MachineError("the hub knows no valid token of this machine", where=endpoint, hint=hint)
    if status == 403:
        hint = "use a token with write access, or another owner"
        return RecipeError(f"no permission to write the repository: {reason}", where=repo_id, hint=hint)
    if status == 404:
        return RecipeError("no such repository, owner or branch", where=repo_id, hint="check the name and --revision")
    if status is not None and 400 <= status < 500 and status != 429:
        return RecipeError(f"the hub refuses the upload ({status}): {reason}", where=repo_id, hint="check the name")
    return MachineError(f"the hub fails ({status}): {reason}", where=endpoint, hint="push again later")
