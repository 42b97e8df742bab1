"""How a botocore session looks for its packaged data and reads it, at half the price.

To see whether it knows a service, botocore goes through the folders of all 400; and what it reads it makes OrderedDicts
of, which have had nothing beyond dicts for it since Python 3.7 and take twice the time. Nothing read is shared between
sessions: botocore writes into the endpoints while it makes a client, so threads could not.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import DataNotFoundError
from botocore.loaders import JSONFileLoader, Loader

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_less(session: Any) -> None:  # noqa: ANN401 - a botocore session
    """For sessions that never leave us: what they list of services is no list. Where they look stays botocore's."""
    loader = session.get_component("data_loader")
    loader.file_loader = _Files()
    loader.list_available_services = partial(_Services, loader)


class _Files(JSONFileLoader):  # type: ignore[misc]  # it has no types
    def load_file(self, file_path: str) -> Any:  # noqa: ANN401 - JSON
        try:
            text = Path(f"{file_path}.json").read_bytes()
        except OSError:  # compressed, or not there
            return super().load_file(file_path)
        return json.loads(text)


class _Services:
    """The services that have data of a type; drawn up only where all are wanted: in an error."""

    def __init__(self, loader: Any, type_name: str) -> None:  # noqa: ANN401 - botocore's Loader
        self._loader, self._type_name = loader, type_name

    def __contains__(self, name: str) -> bool:
        try:
            return bool(self._loader.list_api_versions(name, self._type_name))
        except DataNotFoundError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(Loader.list_available_services(self._loader, self._type_name))
