"""A Kubernetes Job or CronJob, as a dry run returns it."""

from marshmallow import Schema, fields


class JobSchema(Schema):
    """The Job that would have been stored: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/."""

    api_version = fields.Constant("batch/v1", data_key="apiVersion", metadata={"description": "Its API version."})
    kind = fields.Constant("Job", metadata={"description": "Its kind."})
    object_metadata = fields.Dict(data_key="metadata", metadata={"description": "Its example name and its labels."})
    spec = fields.Dict(
        metadata={"description": "What would run. The definition's variables are shown without their values."}
    )
    status = fields.Dict(metadata={"description": "The status of a new object.", "optional": True})


class CronJobSchema(JobSchema):
    """The CronJob that would have been stored."""

    kind = fields.Constant("CronJob", metadata={"description": "Its kind."})
