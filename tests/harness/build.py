"""Where a CMake build puts the programs that the tests run."""
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"


@dataclass(frozen=True)
class Build:
    """A CMake build directory. Programs and guests have the names of their CMake targets."""

    folder: Path

    @property
    def pinfold(self) -> Path:
        return self.folder / "pinfold"

    def program(self, target: str) -> Path:
        """The file of a target: `pinfold`, `guest_boots_uuid`, `pinfold_unvalidated`, `unit_loader`."""
        if target == "pinfold":
            return self.pinfold
        if target.startswith(("guest_", "pinfold_")):
            return self.folder / "tests/guest" / target
        if target == "make_log":
            return self.folder / "tests/report" / target
        return self.folder / "tests" / target

    def guest(self, name: str) -> Path:
        """The guest kernel FOLDER_FILE, built from tests/guest/FOLDER/FILE.cpp."""
        return self.program(f"guest_{name}")
