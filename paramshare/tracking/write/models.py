"""The models of runs on a server, by MLflow's public API: create a run's LoggedModel, and delete it with its run.

MLflow keeps a LoggedModel if its run is deleted or ends as FAILED. So whoever deletes a run deletes its model, too.
"""

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput

from paramshare.tracking.write.record import ModelRecord

__all__ = ["create_model", "delete_models", "delete_run"]


def create_model(client: MlflowClient, experiment_id: str, run_id: str, model: ModelRecord) -> LoggedModel:
    """Create the model of a run, link the run to it, and return it. It is PENDING and has no files yet."""
    created = client.create_logged_model(
        experiment_id, model.name, source_run_id=run_id, tags=dict(model.tags), params=dict(model.params)
    )
    client.log_outputs(run_id, [LoggedModelOutput(created.model_id, step=0)])
    return created


def delete_models(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    """Delete the models of a run; `mlflow gc` removes their files."""
    for model in client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"):
        client.delete_logged_model(model.model_id)


def delete_run(client: MlflowClient, experiment_id: str, run_id: str) -> None:
    """Delete a run and its models."""
    client.delete_run(run_id)
    delete_models(client, experiment_id, run_id)
