"""What a job asks the Hub for, in place of `huggingface_hub.HfApi`: dataset repositories, private or not."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any


@dataclass
class PrivateHub:
    """Dataset repositories of one account."""

    user: str = "artist"
    private: dict[str, bool] = field(default_factory=dict)  # repository -> whether it is
    folders: dict[str, Path] = field(default_factory=dict)  # repository -> what lies in it
    uploaded: list[tuple[str, str, bytes]] = field(default_factory=list)  # repository, file, bytes
    asked: list[str] = field(default_factory=list)  # the methods that were called
    failures: int = 0  # uploads that do not get through
    makes_public: bool = False  # a new repository is public, whatever was wanted

    def whoami(self) -> dict[str, Any]:
        self.asked.append("whoami")
        return {"name": self.user}

    def repo_info(self, repo_id: str, *, repo_type: str) -> Any:
        self.asked.append("repo_info")
        assert repo_type == "dataset"
        return SimpleNamespace(private=self.private[repo_id])

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> None:
        self.asked.append("create_repo")
        assert repo_type == "dataset" and exist_ok
        self.private.setdefault(repo_id, private and not self.makes_public)

    def snapshot_download(self, repo_id: str, *, repo_type: str, local_dir: Path) -> str:
        self.asked.append("snapshot_download")
        assert repo_type == "dataset"
        shutil.copytree(self.folders[repo_id], local_dir)
        (local_dir / ".cache" / "huggingface").mkdir(parents=True)  # as the real one leaves
        (local_dir / ".gitattributes").write_text("*.png filter=lfs\n")
        return str(local_dir)

    def upload_file(self, *, path_or_fileobj: Path, path_in_repo: str, repo_id: str, repo_type: str) -> None:
        self.asked.append("upload_file")
        assert repo_type == "dataset"
        if self.failures:
            self.failures -= 1
            raise ConnectionError("no answer")
        self.uploaded.append((repo_id, path_in_repo, Path(path_or_fileobj).read_bytes()))
