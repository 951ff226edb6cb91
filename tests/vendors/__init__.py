"""Strict fakes of the vendors that exporters send to, each a process of its own: `python -m tests.vendors.datadog`.

They are written from what the vendors publish, and know nothing of the code that they test. Start them with
`tests.vendors.running.start_vendor`.
"""
