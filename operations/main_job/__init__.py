"""The main job: the embedded servers, a simulated trading day, the streaming process and Dagster, watched."""
