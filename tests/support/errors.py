"""What a refusal is checked by: its code and parameters, not its sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cgidm.errors import UserError
from cgidm.messages import english


@contextmanager
def refuses(code: str, **params: Any) -> Iterator[pytest.ExceptionInfo[UserError]]:
    """The block must raise a `UserError` of that code, with at least these parameters."""
    with pytest.raises(UserError) as caught:
        yield caught
    assert caught.value.code == code, f"{caught.value.code}: {caught.value}"
    assert code in english(), f"no sentence for {code}"
    found = {name: caught.value.params.get(name) for name in params}
    assert found == params
