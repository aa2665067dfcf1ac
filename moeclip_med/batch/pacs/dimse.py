"""Results to a DICOM node by C-STORE (PS3.4, annex B), for a PACS that takes no DICOMweb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError, MissingExtraError

from moeclip_med.batch.pacs.http import PacsError, PacsUnreachableError

if TYPE_CHECKING:
    from pydicom import Dataset

_SUCCESS = 0x0000
_COERCED = {0xB000, 0xB006, 0xB007}
"""Stored with a warning (PS3.4, table B.2-1)."""
_CALLING_TITLE = "MOECLIPMED"
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class DicomNode:
    """A storage SCP.

    Attributes:
        host: Name or IP address.
        port: TCP port.
        title: Its application entity title.
    """

    host: str
    port: int
    title: str

    @classmethod
    def parse(cls, text: str) -> DicomNode:
        """Read `TITLE@host:port`.

        Raises:
            InputError: If the text has another form.
        """
        title, at, place = text.partition("@")
        host, colon, port = place.rpartition(":")
        if not (at and colon and title and host and port.isdecimal()):
            raise InputError(
                f'--c-store "{text}" is not understood; write TITLE@host:port, e.g. "ARCHIVE@10.0.0.5:104"'
            )
        return cls(host, int(port), title)

    def store(self, dataset: Dataset) -> bool:
        """Store an instance in an association of its own. A node that has it already keeps what it has.

        Raises:
            PacsError: If the node cannot be reached or refuses the instance.
            MissingExtraError: If `pynetdicom` is not installed.
        """
        try:
            from pynetdicom import AE
        except ImportError as error:
            raise MissingExtraError(package="pynetdicom", extra="pacs", purpose="--c-store") from error
        entity = AE(ae_title=_CALLING_TITLE)
        entity.connection_timeout = _CONNECT_SECONDS  # without it, a host that is switched off holds us for minutes
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        association = entity.associate(self.host, self.port, ae_title=self.title)
        if not association.is_established:
            raise PacsUnreachableError(
                f"{self.title}@{self.host}:{self.port} cannot be reached or refuses the connection; check its address, "
                f"its title, and whether it accepts the title {_CALLING_TITLE}",
                has_answered=False,
            )
        try:
            if not association.accepted_contexts:
                what = dataset.SOPClassUID.name
                raise PacsError(
                    f"{self.title}@{self.host}:{self.port} does not accept objects of the class {what}; allow it there"
                )
            answer = association.send_c_store(dataset)
        finally:
            association.release()
        status = answer.get("Status")
        if status != _SUCCESS and status not in _COERCED:
            said = "nothing" if status is None else f"status {status:#06x}"
            raise PacsError(f"{self.title}@{self.host}:{self.port} did not store a result ({said}); look at its log")
        return True
