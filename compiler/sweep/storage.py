"""Where a study lies: a database or a journal that any number of workers share."""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgekiln.runtime.errors import ConfigError, EdgeKilnError, MissingToolError, StorageError
from edgekiln.runtime.text import without_password

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from optuna.storages import BaseStorage, RDBStorage

JOURNAL = "journal"  # the scheme of a file that grows by a line a change; no database needed
# What Optuna and we meet in a storage whose content is not as it was written.
_DAMAGE = (RuntimeError, ValueError, LookupError, TypeError, AttributeError)
_BUSY_S = 60.0  # for another worker's write to a SQLite file
_FORMS = "sqlite:///FILE, journal:///FILE, or a database server's URL, postgresql://…"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what Optuna and its database layer say to programmers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load_optuna() -> "ModuleType":
    """The package, its log silenced: what it tells, the progress and the tables tell.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        with quiet():
            import optuna
    except ModuleNotFoundError as error:
        raise MissingToolError(
            f"the Python package {error.name} is not installed", "pip install 'edgekiln[search]'"
        ) from error
    # In every process anew, and for the modules that logged before.
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.CRITICAL)
    module: ModuleType = optuna
    return module


def file_of(url: str) -> Path | None:
    """The file of a storage that is one; it need not be there."""
    scheme, _, rest = url.partition("://")
    # As in SQLAlchemy's URLs: three slashes begin a relative path, four an absolute one.
    return Path(rest.removeprefix("/")) if scheme in (JOURNAL, "sqlite") else None


def digest_of(url: str, study: str) -> str:
    """What names a study among all others, by hexadecimal digits.

    A file counts by its whole path: elsewhere, the same relative one is another file's.
    """
    path = file_of(url)
    name = f"{path.resolve() if path else url} {study}"
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def open_storage(url: str) -> "BaseStorage":
    """The storage at `url`, made if there is none.

    Raises:
        ConfigError: no such kind of storage.
        MissingToolError: the package that reaches it is not installed.
        StorageError: it cannot be reached, read or written.
    """
    optuna = load_optuna()
    scheme, separator, rest = url.partition("://")
    if not separator or not rest.strip("/"):
        raise ConfigError(
            f"--storage {without_password(url)}: this names no storage", f"give {_FORMS}"
        )
    path = file_of(url)
    if path is not None and not path.parent.is_dir():
        raise _unreachable(url, f"there is no directory {path.parent}")
    with opening(url):
        storage: BaseStorage
        if path is not None and scheme == JOURNAL:
            from optuna.storages.journal import JournalFileBackend

            _check_journal(path)
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
            return storage
        wait = {"connect_args": {"timeout": _BUSY_S}} if scheme == "sqlite" else {}
        storage = _database(url, wait)
        return storage


def _database(url: str, settings: "Mapping[str, Mapping[str, float]]") -> "RDBStorage":
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    try:
        return RDBStorage(url, engine_kwargs=dict(settings))
    except (IntegrityError, OperationalError, ProgrammingError):
        # A worker on another machine may have made the tables at the same time: then they are
        # there now. What else it may be, is so the second time, too.
        return RDBStorage(url, engine_kwargs=dict(settings))


def _check_journal(path: Path) -> None:
    """Raise ValueError for a file that holds anything else: Optuna writes before it reads."""
    if not path.exists():
        return
    with path.open("rb") as file:
        line = file.readline()
    if line and b'"op_code"' not in line:
        raise ValueError("this is no journal of studies")


def close(storage: "BaseStorage") -> None:
    """Give back the connections."""
    if engine := getattr(storage, "engine", None):
        storage.remove_session()
        engine.dispose()


@contextmanager
def talking(url: str) -> Iterator[None]:
    """Quiet, and with the errors of a storage that is lost as the user's."""
    import sqlalchemy.exc

    with quiet():
        try:
            yield
        except sqlalchemy.exc.DBAPIError as error:
            raise _unreachable(url, str(error.orig)) from error
        except load_optuna().exceptions.StorageInternalError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise _unreachable(url, reason) from error
        except OSError as error:
            raise _unreachable(url, error.strerror or str(error)) from error


@contextmanager
def opening(url: str) -> Iterator[None]:
    """Like `talking`, for what is first done with a storage, which may be anything."""
    import sqlalchemy.exc

    try:
        with talking(url):
            yield
    except EdgeKilnError:
        raise
    except ImportError as error:
        # Optuna wraps what SQLAlchemy raises where a database's own package is missing.
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        package = cause.name or "of this database"
        raise MissingToolError(
            f"--storage {without_password(url)}: the Python package {package} is not installed",
            f"pip install {cause.name}" if cause.name else "see SQLAlchemy's list of databases",
        ) from error
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise ConfigError(
            f"--storage {without_password(url)}: no such kind of storage", f"give {_FORMS}"
        ) from error
    # A file of something else, or a study of another release of Optuna.
    except (*_DAMAGE, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise _unreachable(url, reason) from error


def _unreachable(url: str, reason: str) -> StorageError:
    return StorageError(
        f"--storage {without_password(url)}: {reason}",
        "check the path, or that the server can be reached",
    )
