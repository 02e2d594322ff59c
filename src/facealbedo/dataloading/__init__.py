"""Reading photos and crops without Kedro."""
