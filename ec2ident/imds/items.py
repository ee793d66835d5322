"""The usual names of metadata items, as properties of the client: `Imds().instance_id` beside `get("meta-data/…")`.

The names are those of the items with underscores ("Instance metadata categories" in the Amazon EC2 User Guide), and
beside them those that users of the package ec2-metadata know: `ami_id`, `private_ipv4`, `private_hostname`.
"""

from __future__ import annotations

from ec2ident.errors import ImdsError
from ec2ident.model import Reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from ec2ident.model import IdentityDocument

    T = TypeVar("T", str, bytes)


class Items:
    """Items by name. Each access asks the service anew, within the client's timeout, and raises ImdsError like `get`.

    An item that every instance has is text, and its absence raises ImdsError with reason NOT_EC2WS. An item that an
    instance may be without is None then. Nothing here is proven: what AWS signed comes from `ec2ident.prove`.
    """

    timeout: float

    def get(self, path: str, *, deadline: float | None = None) -> str | None:
        """An item as text, or None where there is none; `Imds` defines it."""
        raise NotImplementedError

    def get_bytes(self, path: str, *, deadline: float | None = None) -> bytes | None:
        """An item in its exact bytes, or None where there is none; `Imds` defines it."""
        raise NotImplementedError

    def deadline(self) -> float:
        """The moment, on the client's clock, at which a question of several requests that begins now ends."""
        raise NotImplementedError

    # What every instance has

    @property
    def instance_id(self) -> str:
        """Such as `i-0123456789abcdef0`."""
        return self._required("meta-data/instance-id")

    @property
    def instance_type(self) -> str:
        """Such as `m5.large`."""
        return self._required("meta-data/instance-type")

    @property
    def image_id(self) -> str:
        """The AMI that the instance was launched from, such as `ami-0123456789abcdef0`."""
        return self._required("meta-data/ami-id")

    @property
    def ami_id(self) -> str:
        """The same as `image_id`."""
        return self.image_id

    @property
    def region(self) -> str:
        """Such as `eu-west-1`."""
        return self._required("meta-data/placement/region")

    @property
    def availability_zone(self) -> str:
        """Such as `eu-west-1a`; the same letter is another zone in another account."""
        return self._required("meta-data/placement/availability-zone")

    @property
    def availability_zone_id(self) -> str:
        """Such as `euw1-az1`, the same zone in every account."""
        return self._required("meta-data/placement/availability-zone-id")

    @property
    def partition(self) -> str:
        """Such as `aws` or `aws-cn`."""
        return self._required("meta-data/services/partition")

    @property
    def domain(self) -> str:
        """The DNS suffix of the region's services, such as `amazonaws.com`."""
        return self._required("meta-data/services/domain")

    @property
    def mac(self) -> str:
        """The hardware address of the primary interface, in lower case with colons."""
        return self._required("meta-data/mac")

    @property
    def macs(self) -> tuple[str, ...]:
        """The hardware addresses of all interfaces that the service knows of.

        EC2 lists them alone, aws/amazon-ec2-metadata-mock with what is below each.
        """
        lines = self._required("meta-data/network/interfaces/macs/").split("\n")
        return tuple(dict.fromkeys(line.partition("/")[0] for line in lines if line))

    @property
    def reservation_id(self) -> str:
        """Such as `r-0123456789abcdef0`."""
        return self._required("meta-data/reservation-id")

    @property
    def account_id(self) -> str:
        """Twelve digits, leading zeros included, from the identity document."""
        return self.instance_identity_document.account_id

    @property
    def instance_identity_document(self) -> IdentityDocument:
        """The identity document as the service shows it, without its signature: a claim, not a proof.

        Raises MalformedError for what is not such a document.
        """
        from ec2ident.proof.document import parse

        path = "dynamic/instance-identity/document"
        return parse(_present(path, self.get_bytes(path)))

    # What an instance may be without

    @property
    def local_ipv4(self) -> str | None:
        """The private IPv4 address of the primary interface; None in a subnet with IPv6 alone."""
        return self.get("meta-data/local-ipv4")

    @property
    def private_ipv4(self) -> str | None:
        """The same as `local_ipv4`."""
        return self.local_ipv4

    @property
    def public_ipv4(self) -> str | None:
        """The public IPv4 address of the primary interface."""
        return self.get("meta-data/public-ipv4")

    @property
    def ipv6(self) -> str | None:
        """The primary IPv6 address of the primary interface."""
        return self.get("meta-data/ipv6")

    @property
    def local_hostname(self) -> str | None:
        """The private DNS name."""
        return self.get("meta-data/local-hostname")

    @property
    def private_hostname(self) -> str | None:
        """The same as `local_hostname`."""
        return self.local_hostname

    @property
    def public_hostname(self) -> str | None:
        """The public DNS name."""
        return self.get("meta-data/public-hostname")

    @property
    def kernel_id(self) -> str | None:
        """The kernel image of a paravirtual instance."""
        return self.get("meta-data/kernel-id")

    @property
    def life_cycle(self) -> str | None:
        """`on-demand`, `spot`, `scheduled` or `capacity-block`."""
        return self.get("meta-data/instance-life-cycle")

    @property
    def security_groups(self) -> tuple[str, ...]:
        """The names of the security groups of the primary interface."""
        return tuple(line for line in (self.get("meta-data/security-groups") or "").split("\n") if line)

    @property
    def iam_role(self) -> str | None:
        """The name of the instance profile's role; its credentials are the business of an SDK."""
        return (self.get("meta-data/iam/security-credentials/") or "").partition("\n")[0] or None

    @property
    def user_data(self) -> bytes | None:
        """The user data, in its exact bytes."""
        return self.get_bytes("user-data")

    @property
    def tags(self) -> dict[str, str] | None:
        """The instance's tags by key. None where the service shows none.

        That is so for an instance without tags, and for every instance with metadata options that do not allow access
        to tags, which is the default (`aws ec2 modify-instance-metadata-options --instance-metadata-tags enabled`).
        """
        until = self.deadline()
        keys = self.get("meta-data/tags/instance", deadline=until)
        if not keys:  # the listing was seen to be empty too where tags are not shown
            return None
        try:
            found = {key: self.get(f"meta-data/tags/instance/{key}", deadline=until) for key in keys.split("\n") if key}
        except ValueError as error:  # a key that EC2 does not allow where tags are metadata
            raise ImdsError(f"metadata service: meta-data/tags/instance: {error}", Reason.MALFORMED) from error
        # A tag that was removed between the two requests is gone.
        return {key: value for key, value in found.items() if value is not None}

    def _required(self, path: str) -> str:
        return _present(path, self.get(path))


def _present(path: str, item: T | None) -> T:
    if item is None:
        raise ImdsError(f"metadata service: {path} does not exist, and every instance has it", Reason.NOT_EC2WS)
    return item
