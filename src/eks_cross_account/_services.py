"""Which services botocore knows: one is looked for, where it would look through the folders of all 400.

That is a third of what a client costs. Its files stay each session's own: botocore writes into them while it makes a
client, so threads cannot share them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import DataNotFoundError
from botocore.loaders import Loader

if TYPE_CHECKING:
    from collections.abc import Iterator


def look_for_one(session: Any) -> None:  # noqa: ANN401 - a botocore session
    """For sessions that never leave us: what they list of services is no list."""
    loader = session.get_component("data_loader")
    loader.list_available_services = partial(_Services, loader)


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
