"""Binance's account endpoints: balances, positions, modes, income, permissions and listen keys."""

from collections.abc import Sequence
from dataclasses import replace
from secrets import token_hex
from typing import Any

from actors.domain.model import ZERO
from actors.venues.exchange_core import Holding
from actors.venues.exchange_desk import ExchangeDesk
from actors.venues.exchange_dialect import Json, account_json, balance_json, milliseconds, risk_json, risk_json_v2, text
from actors.venues.exchange_errors import BinanceError
from actors.venues.exchange_requests import Endpoint, Request, Routes, Security
from actors.venues.exchange_settings import market_id

_MICROS_PER_SECOND = 1_000_000
_WEEK = 7 * 24 * 3600 * _MICROS_PER_SECOND
_HIGHEST_LEVERAGE = 125
_DONE: Json = {"code": 200, "msg": "success"}


class Accounts:
    """Everything that reads or sets what an account is."""

    def __init__(self, desk: ExchangeDesk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Path and method of each."""
        signed, key = Security.SIGNED, Security.KEY
        reads = {
            "/fapi/v1/account": (self.account, 5),
            "/fapi/v2/account": (self.account, 5),
            "/fapi/v3/account": (self.account, 5),
            "/fapi/v2/balance": (self.balance, 5),
            "/fapi/v3/balance": (self.balance, 5),
            "/fapi/v2/positionRisk": (self.position_risk_v2, 5),
            "/fapi/v3/positionRisk": (self.position_risk, 5),
            "/fapi/v1/positionSide/dual": (self.position_mode, 30),
            "/fapi/v1/multiAssetsMargin": (self.multi_assets_mode, 30),
            "/fapi/v1/leverageBracket": (self.brackets, 1),
            "/fapi/v1/income": (self.income, 30),
            "/fapi/v1/commissionRate": (self.commission_rate, 20),
            "/fapi/v1/accountConfig": (self.account_config, 5),
            "/fapi/v1/symbolConfig": (self.symbol_config, 5),
            "/sapi/v1/account/apiRestrictions": (self.restrictions, 1),
            "/sapi/v1/capital/config/getall": (self.coins, 10),
            "/sapi/v1/margin/allPairs": (self.no_pairs, 1),
            "/sapi/v1/margin/isolated/allPairs": (self.no_pairs, 1),
        }
        writes = {
            "/fapi/v1/positionSide/dual": self.set_position_mode,
            "/fapi/v1/leverage": self.set_leverage,
            "/fapi/v1/marginType": self.set_margin_type,
        }
        found: dict[tuple[str, str], Endpoint] = {
            ("GET", path): Endpoint(handle=handle, security=signed, weight=weight)
            for path, (handle, weight) in reads.items()
        }
        for path, write in writes.items():
            found["POST", path] = Endpoint(handle=write, security=signed, changes=True)
        for method in ("POST", "PUT", "DELETE"):
            handle = {"POST": self.new_listen_key, "PUT": self.keep_listen_key, "DELETE": self.drop_listen_key}[method]
            found[method, "/fapi/v1/listenKey"] = Endpoint(handle=handle, security=key)
        return found

    # -- money and positions -------------------------------------------------------------------------------------------

    def account(self, request: Request) -> Json:
        """`GET account`."""
        return account_json(self._desk.core.state(request.account), request.now)

    def balance(self, request: Request) -> Sequence[Json]:
        """`GET balance`."""
        return balance_json(request.account, self._desk.core.state(request.account), request.now)

    def position_risk(self, request: Request) -> Sequence[Json]:
        """`GET v3/positionRisk`: what is open only."""
        return [risk_json(holding, request.now, side) for holding, side in self._holdings(request) if holding.quantity]

    def position_risk_v2(self, request: Request) -> Sequence[Json]:
        """`GET v2/positionRisk`: every symbol."""
        return [risk_json_v2(holding, request.now, side) for holding, side in self._holdings(request)]

    def income(self, request: Request) -> Sequence[Json]:
        """`GET income`: the last seven days, unless told otherwise."""
        start, end = request.time("startTime"), request.time("endTime")
        end = request.now if end is None else end
        rows = self._desk.reading.income(
            request.account,
            self._desk.maybe_symbol(request),
            request.parameters.get("incomeType") or None,
            start=end - _WEEK if start is None else start,
            end=end,
            limit=request.limit(100, 1000),
        )
        return [
            {
                "symbol": market_id(symbol),
                "incomeType": kind,
                "income": text(amount),
                "asset": "USDT",
                "info": trade_id or kind,
                "time": milliseconds(at),
                "tranId": number,
                "tradeId": trade_id,
            }
            for number, at, symbol, kind, amount, trade_id in rows
        ]

    def commission_rate(self, request: Request) -> Json:
        """`GET commissionRate`."""
        rate = text(self._desk.settings.taker_fee_percent / 100)
        symbol = market_id(self._desk.symbol(request))
        return {"symbol": symbol, "makerCommissionRate": rate, "takerCommissionRate": rate, "rpiCommissionRate": rate}

    # -- modes ---------------------------------------------------------------------------------------------------------

    def position_mode(self, request: Request) -> Json:
        """`GET positionSide/dual`."""
        return {"dualSidePosition": self._desk.journal.wallet(request.account).dual}

    def set_position_mode(self, request: Request) -> Json:
        """`POST positionSide/dual`: not while anything is open."""
        dual = request.text("dualSidePosition").lower() == "true"
        if dual is self._desk.journal.wallet(request.account).dual:
            raise BinanceError(-4059)
        if self._desk.core.state(request.account).holdings:
            raise BinanceError(-4068)
        if any(self._desk.reading.open(request.account, None, trigger=trigger) for trigger in (False, True)):
            raise BinanceError(-4067)
        self._desk.journal.set_mode(request.account, dual=dual)
        return _DONE

    def multi_assets_mode(self, request: Request) -> Json:
        """`GET multiAssetsMargin`: never here."""
        del request
        return {"multiAssetsMargin": False}

    def set_leverage(self, request: Request) -> Json:
        """`POST leverage`."""
        symbol, leverage = self._desk.symbol(request), request.integer("leverage") or 0
        if not 1 <= leverage <= _HIGHEST_LEVERAGE:
            raise BinanceError(-4028, leverage)
        self._desk.journal.set_leverage(request.account, symbol, leverage)
        return {"leverage": leverage, "maxNotionalValue": "100000000", "symbol": market_id(symbol)}

    def set_margin_type(self, request: Request) -> Json:
        """`POST marginType`: everything is cross margin here."""
        self._desk.symbol(request)
        if request.text("marginType") == "CROSSED":
            raise BinanceError(-4046)
        raise BinanceError(-4047, message="Margin type cannot be changed: this exchange has cross margin only.")

    def brackets(self, request: Request) -> Sequence[Json]:
        """`GET leverageBracket`: one bracket, at the rate of the maintenance margin."""
        chosen = self._desk.maybe_symbol(request)
        bracket = {
            "bracket": 1,
            "initialLeverage": _HIGHEST_LEVERAGE,
            "notionalCap": 100_000_000,
            "notionalFloor": 0,
            "maintMarginRatio": float(self._desk.settings.maintenance_percent / 100),
            "cum": 0.0,
        }
        symbols = [chosen] if chosen else list(self._desk.core.instruments)
        return [{"symbol": market_id(symbol), "notionalCoef": 1.0, "brackets": [bracket]} for symbol in symbols]

    def account_config(self, request: Request) -> Json:
        """`GET accountConfig`."""
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": False,
            "dualSidePosition": self._desk.journal.wallet(request.account).dual,
            "updateTime": 0,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
        }

    def symbol_config(self, request: Request) -> Sequence[Json]:
        """`GET symbolConfig`."""
        chosen = self._desk.maybe_symbol(request)
        return [
            {
                "symbol": market_id(symbol),
                "marginType": "CROSSED",
                "isAutoAddMargin": False,
                "leverage": self._desk.journal.leverage(request.account, symbol, self._desk.settings.leverage),
                "maxNotionalValue": "100000000",
            }
            for symbol in ([chosen] if chosen else self._desk.core.instruments)
        ]

    def restrictions(self, request: Request) -> Json:
        """`GET apiRestrictions`, which at Binance is the spot host's: a key that may trade futures, and no more."""
        refused: dict[str, Any] = dict.fromkeys(
            (
                "enableWithdrawals",
                "enableInternalTransfer",
                "permitsUniversalTransfer",
                "enableVanillaOptions",
                "enableMargin",
                "enableSpotAndMarginTrading",
                "enablePortfolioMarginTrading",
            ),
            False,
        )
        created = milliseconds(request.now)
        return {"ipRestrict": True, "createTime": created, "enableReading": True, "enableFutures": True, **refused}

    def coins(self, request: Request) -> Sequence[Json]:
        """`GET capital/config/getall`, which ccxt reads of the spot host before anything else."""
        del request
        names = {"USDT"} | {symbol.partition("/")[0] for symbol in self._desk.core.instruments}
        return [
            {
                "coin": name,
                "name": name,
                "free": "0",
                "locked": "0",
                "isLegalMoney": False,
                "trading": True,
                "depositAllEnable": False,
                "withdrawAllEnable": False,
                "networkList": [],
            }
            for name in sorted(names)
        ]

    def no_pairs(self, request: Request) -> Sequence[Json]:
        """`GET margin/allPairs`, which ccxt reads too: no spot margin here."""
        del request
        return []

    # -- listen keys ---------------------------------------------------------------------------------------------------

    def new_listen_key(self, request: Request) -> Json:
        """`POST listenKey`: the one there is, made to last, or a new one."""
        own = [
            key
            for key, account, expires_at in self._desk.journal.listen_keys()
            if account == request.account and expires_at > request.now
        ]
        key = own[0] if own else token_hex(32)
        self._desk.journal.save_listen_key(key, request.account, self._expiry(request))
        return {"listenKey": key}

    def keep_listen_key(self, request: Request) -> Json:
        """`PUT listenKey`: it lasts longer."""
        for key, account, expires_at in self._desk.journal.listen_keys():
            if account == request.account and expires_at > request.now:
                self._desk.journal.save_listen_key(key, account, self._expiry(request))
                return {"listenKey": key}
        raise BinanceError(-1125)

    def drop_listen_key(self, request: Request) -> Json:
        """`DELETE listenKey`."""
        for key, account, _ in self._desk.journal.listen_keys():
            if account == request.account:
                self._desk.journal.drop_listen_key(key)
        return {}

    def _expiry(self, request: Request) -> int:
        return request.now + int(self._desk.settings.listen_key_seconds * _MICROS_PER_SECOND)

    def _holdings(self, request: Request) -> list[tuple[Holding, str]]:
        """Every symbol's position, flat ones too; in hedge mode one of each side."""
        chosen = self._desk.maybe_symbol(request)
        state = self._desk.core.state(request.account)
        held = {holding.symbol: holding for holding in state.holdings}
        found = [held.get(symbol) or self._flat(request.account, symbol) for symbol in self._desk.core.instruments]
        chosen_ones = [holding for holding in found if chosen in (None, holding.symbol)]
        if not state.wallet.dual:
            return [(holding, "BOTH") for holding in chosen_ones]
        return [
            (holding if (side == "LONG") == (holding.quantity > 0) else replace(holding, quantity=ZERO), side)
            for holding in chosen_ones
            for side in ("LONG", "SHORT")
        ]

    def _flat(self, account: str, symbol: str) -> Holding:
        quote = self._desk.core.quote(symbol)
        return Holding(
            symbol=symbol,
            quantity=ZERO,
            entry_price=ZERO,
            mark_price=(quote.mark if quote else None) or ZERO,
            leverage=self._desk.journal.leverage(account, symbol, self._desk.settings.leverage),
            unrealized=ZERO,
            initial_margin=ZERO,
            maintenance_margin=ZERO,
        )
