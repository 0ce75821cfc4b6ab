"""The companies that can send messages, by the name settings use."""

from __future__ import annotations

from collections.abc import Mapping

from selfbase.auth.sms import ProviderMaker

PROVIDERS: Mapping[str, ProviderMaker] = {}
