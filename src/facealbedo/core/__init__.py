"""Pure torch and numpy: no Kedro, no MLflow, no file system."""
