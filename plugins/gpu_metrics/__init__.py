"""Metrics of NVIDIA GPUs, from NVML."""
