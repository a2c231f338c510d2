"""Where pictures meet the flow; one file a stage."""
