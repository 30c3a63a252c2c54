"""The scheduled jobs: SLIs per 5-minute bucket and burn rates, over a ``MetricSource``.

Jobs see the protocols of ``sloctl.backends.protocols``, never the adapters behind them, and take time and sources as
arguments.
"""
