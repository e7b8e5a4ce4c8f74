"""A Kubernetes Job as the caller of a dry run sees it."""

from marshmallow import Schema, fields


class JobSchema(Schema):
    """The Job that a dry run would have stored: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/."""

    api_version = fields.Constant("batch/v1", data_key="apiVersion", metadata={"description": "Of the Job."})
    kind = fields.Constant("Job", metadata={"description": "What it is."})
    object_metadata = fields.Dict(data_key="metadata", metadata={"description": "Its name, made up, and its labels."})
    spec = fields.Dict(
        metadata={"description": "What would run. Of variables that come from the definition only names are shown."}
    )
    status = fields.Dict(metadata={"description": "Of a Job that has done nothing yet.", "optional": True})
