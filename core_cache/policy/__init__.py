"""What has to do with eviction policies outside the engine: evaluating one on a trace, and the artefacts of models."""
