"""Let MLflow's pages open for trainings: in the mode for model training, without assistant and telemetry notice.

A browser keeps these choices in its storage. The page sets those that the browser does not have yet, before MLflow's
own scripts run; whatever the user chooses later stays.

This file is also copied into the stack's image of MLflow, so it imports nothing of paramshare.
"""

import json
from pathlib import Path
from typing import Final

__all__ = ["set_page_defaults"]

DEFAULTS: Final = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.panelOpen_v1": False,
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.settings.telemetry.enabled_v1": False,
    "mlflow.telemetry.info.alert.dismissed_v1": True,
}
"""The keys of MLflow 3.17 in a browser's storage, and their values."""

_HEAD: Final = "<head>"
_SCRIPT: Final = (
    "<script>try { for (const [key, value] of Object.entries(%s)) if (localStorage.getItem(key) === null)"
    " localStorage.setItem(key, value) } catch (error) { /* a browser without storage */ }</script>"
)


def set_page_defaults() -> None:
    """Change the start page of MLflow's server in this process. Nothing changes if MLflow has another start page."""
    from flask import Response
    from mlflow.server import app

    page = Path(app.static_folder or "") / "index.html"
    html = page.read_text(encoding="utf-8") if page.is_file() else ""
    if "serve" not in app.view_functions or _HEAD not in html:
        return
    values = json.dumps({key: json.dumps(value) for key, value in DEFAULTS.items()})
    changed = html.replace(_HEAD, _HEAD + _SCRIPT % values, 1)
    app.view_functions["serve"] = lambda: Response(changed, mimetype="text/html", headers={"Cache-Control": "no-cache"})
