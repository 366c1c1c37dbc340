"""The published ways of serving, turned into functions that the host can call.

An algorithm written for the published ADK serves itself when its module is imported: `ADK(apply).init()` or
`handler(apply).serve()` read requests until their input ends. Here those two methods only note who called
them, so that the import returns and the host does the serving. Nothing on disk is changed: the modules are
amended in memory at the moment the algorithm imports them, and not imported when it does not.

Two functions that newer Pythons removed are given back to those modules alone: the `etype` keyword of
`traceback.format_exception` and `inspect.getargspec`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any


class Capture:
    """Finder at the head of `sys.meta_path`. `served` is the first object that asked to be served."""

    def __init__(self) -> None:
        self.served: Any = None
        self.wants_mlops = False
        self._amend: dict[str, Callable[[ModuleType], None]] = {
            "adk.ADK": self._amend_adk,
            "adk.io": _amend_adk_io,
            "Algorithmia.handler": self._amend_handler,
        }

    def install(self) -> None:
        sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that any other finder gives, its loader amended. Called by the import system."""
        amend = self._amend.get(name)
        if amend is None:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                _run_after(spec.loader, amend)
                return spec
        return None

    def _amend_adk(self, module: ModuleType) -> None:
        capture = self

        def init(self: Any, local_payload: object = None, pprint: object = print, mlops: bool = False) -> None:  # noqa: ARG001
            if capture.served is None:
                capture.wants_mlops = mlops
            capture._serve(self)

        adk = getattr(module, "ADK", None)
        if adk is not None:
            adk.init = init

    def _amend_handler(self, module: ModuleType) -> None:
        capture = self
        handler = getattr(module, "Handler", None)
        if handler is not None:
            handler.serve = lambda instance: capture._serve(instance)  # noqa: PLW0108 - a bound method would not get it
        if "inspect" in vars(module):
            _copy_module(module, "inspect").getargspec = _getargspec

    def _serve(self, instance: object) -> None:
        """The first one would have served forever, so it is the one."""
        if self.served is None:
            self.served = instance


def _run_after(loader: Any, amend: Callable[[ModuleType], None]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        amend(module)

    loader.exec_module = exec_module


def _copy_module(module: ModuleType, name: str) -> Any:
    """Give `module` a copy of its own of a module that it imports, which can be amended for it alone."""
    original = vars(module)[name]
    copy = type(sys)(name)
    copy.__dict__.update(vars(original))
    vars(module)[name] = copy
    return copy


def _amend_adk_io(module: ModuleType) -> None:
    if "traceback" not in vars(module):
        return
    copy = _copy_module(module, "traceback")
    original = copy.format_exception

    def format_exception(*positional: Any, etype: Any = None, **named: Any) -> list[str]:
        if etype is not None:
            positional = (etype, named.pop("value", None), named.pop("tb", None), *positional)
        lines: list[str] = original(*positional, **named)
        return lines

    copy.format_exception = format_exception


def _getargspec(function: Callable[..., Any]) -> tuple[list[str], str | None, str | None, tuple[Any, ...] | None]:
    import inspect  # noqa: PLC0415 - only the oldest clients need it

    spec = inspect.getfullargspec(function)
    return spec.args, spec.varargs, spec.varkw, spec.defaults


def load_served(capture: Capture) -> tuple[Callable[..., Any], object]:
    """The served object's apply function and what its load function gave, by the ADK's rules: a model
    manifest is fetched first, load() may take it."""
    instance = capture.served
    model_data = getattr(instance, "model_data", None)
    if hasattr(instance, "is_local"):
        instance.is_local = False
    if capture.wants_mlops:
        instance.mlops_init()
    if model_data is not None and model_data.available():
        model_data.initialize()
    load = instance.load_func
    if load is None:
        return instance.apply_func, None
    loaded = load(model_data) if getattr(instance, "load_arity", 0) == 1 else load()
    instance.load_result = loaded
    return instance.apply_func, loaded
