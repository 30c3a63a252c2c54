"""The servers that sloctl asks: protocols and plain data that jobs see, and the adapters behind them.

``protocols``, ``spans``, ``frames`` and ``silences`` may be imported by all; ``http``, ``prometheus``,
``alertmanager`` and ``traces`` by the command line and the demo alone. Foreign exceptions end here.
"""
