"""botocore's data files, read once in a process and no further than needed. Touches packaged data and AWS_DATA_PATH.

Endpoints and service models are megabytes of JSON, which each botocore session reads anew for its first client; and to
see whether it knows a service, it lists the folders of all 400. Together that is most of what a client costs.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import DataNotFoundError
from botocore.loaders import Loader, create_loader

if TYPE_CHECKING:
    from collections.abc import Iterator


def share_data_files(session: Any) -> None:  # noqa: ANN401 - a botocore session
    """Let the clients of a new session be made of this process's one copy. Its data_path setting stays in force."""
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))


@lru_cache(maxsize=4)
def _loader(data_path: str | None) -> Any:  # noqa: ANN401 - botocore's Loader
    loader: Any = create_loader(data_path)
    loader.list_available_services = partial(_Services, loader)
    return loader


class _Services:
    """The services that have data of a type. One is looked for alone; all only where all are wanted: in an error."""

    def __init__(self, loader: Any, type_name: str) -> None:  # noqa: ANN401 - as above
        self._loader, self._type_name = loader, type_name

    def __contains__(self, name: str) -> bool:
        try:
            return bool(self._loader.list_api_versions(name, self._type_name))
        except DataNotFoundError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(Loader.list_available_services(self._loader, self._type_name))
