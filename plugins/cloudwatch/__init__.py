"""The CloudWatch exporter: metrics to Amazon CloudWatch by PutMetricData."""
