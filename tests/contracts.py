"""A contract for import-linter: some modules import nothing from outside but what is listed."""

from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class Only(Contract):
    """`source_modules`, with all below them, import `allowed_modules`, each other, and nothing else at all."""

    type_name = "only"

    source_modules = fields.ListField(subfield=fields.StringField())
    allowed_modules = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - import-linter's interface
        """Find each import of a module that is not allowed."""
        # import-linter's fields are the values that they were given once there is a contract.
        sources, others = cast("list[str]", self.source_modules), cast("list[str]", self.allowed_modules)
        inside = {module for root in sources for module in (root, *graph.find_descendants(root))}
        allowed = inside | set(others)
        broken = sorted(
            f"{module} imports {imported}"
            for module in inside
            for imported in graph.find_modules_directly_imported_by(module)
            if imported not in allowed
        )
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print what `check` found, one import a line."""
        for sentence in check.metadata["broken"]:
            output.print_error(sentence)
