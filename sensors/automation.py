"""The sensor that evaluates the assets' automation conditions (``execution_assets.automation``)."""

import dagster as dg

automation = dg.AutomationConditionSensorDefinition(
    "automation",
    target=dg.AssetSelection.groups("derived"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Makes what is downstream of a newly derived day, once its blocking checks have passed.",
)
