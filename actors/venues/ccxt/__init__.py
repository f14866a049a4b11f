"""Real exchanges, through ccxt: what is common, and one small file per exchange.

ccxt is the optional extra `exitkeeper[live]`; nothing here imports it before a venue is opened.
"""
