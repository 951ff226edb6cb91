"""The OTLP exporter: metrics, spans and log records to anything that speaks OpenTelemetry's protocol over HTTP."""
