"""The driver's end of the connections to the workers: it sends commands and adds up what they reduce."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from socket import socket
from typing import Any

from pgfast.reduce import add
from pgfast.training.distributed.messages import Channel, Encoded, Message, describe_error, encode

__all__ = ["Hub", "Member"]


@dataclass(frozen=True)
class Member:
    """A connected worker. Its slot decides which environments it has, and its place in every sum."""

    slot: int
    channel: Channel


class Hub:
    """The members of a run, in the order of their slots.

    Args:
        timeout: seconds that a member may take from one message to the next.
        on_loss: called with the slot of a member that has ended or is too slow, and the reason.
    """

    def __init__(self, timeout: float, on_loss: Callable[[int, str], None]) -> None:
        self.members: list[Member] = []
        self._timeout, self._on_loss = timeout, on_loss

    def add(self, slot: int, channel: Channel) -> None:
        """Adds a member, instead of an earlier one of its slot. No command may be going on."""
        others = [member for member in self.members if member.slot != slot]
        self.members = sorted([*others, Member(slot, channel)], key=lambda member: member.slot)

    def remove(self, slot: int) -> None:
        """Closes the connection to the member of a slot. No command may be going on."""
        for member in self.members:
            if member.slot == slot:
                member.channel.close()
        self.members = [member for member in self.members if member.slot != slot]

    def command(self, name: str, content: Message, slots: list[int] | None) -> dict[int, Message]:
        """Sends a command, serves the reductions that it needs, and returns the answers by slot.

        If a member is lost after the first of them, all others begin the update again. Members that are lost have no
        answer.

        Args:
            name: that of the command.
            content: further fields of the message.
            slots: of the members that are asked; None for all.
        """
        asked = [member for member in self.members if slots is None or member.slot in slots]
        message = encode({"command": name, **content})
        for member in asked:
            self._send(member, message)
        answers: dict[int, Message] = {}
        has_begun = False
        while True:
            busy = [member for member in self.members if member in asked and member.slot not in answers]
            messages = self._messages(busy)
            answers |= {slot: message for slot, message in messages.items() if "answer" in message}
            calls = {slot: message for slot, message in messages.items() if "call" in message}
            present = {member.slot for member in self.members}
            answers = {slot: answers[slot] for slot in sorted(present & answers.keys())}
            if not calls:
                return answers
            is_changed = has_begun and len(calls) < len(asked)
            asked = [member for member in asked if member.slot in calls]
            has_begun = not is_changed
            if is_changed:
                replies = [encode({"changed": True})] * len(asked)
            else:
                try:
                    replies = _replies([*calls.values()])
                except Exception as error:  # of what they sent; they raise it, and so answer
                    replies = [encode({"error": describe_error(error, 0)})] * len(asked)
            for member, reply in zip(asked, replies, strict=True):
                self._send(member, reply)

    def close(self) -> None:
        """Tells all members to stop."""
        for member in self.members:
            with suppress(OSError):  # it has ended
                member.channel.send(encode({"command": "stop"}))
            member.channel.close()
        self.members = []

    def _messages(self, members: list[Member]) -> dict[int, Message]:
        """The next message of each member by slot, without those that are lost."""
        messages: dict[int, Message] = {}
        deadline = time.monotonic() + self._timeout
        waiting = {member.channel.socket: member for member in members}
        while waiting:
            ready = wait(list(waiting), max(0.0, deadline - time.monotonic()))
            if not ready:
                for member in waiting.values():
                    self._lose(member, f"it has not answered within worker_timeout = {self._timeout:g} s")
                break
            for member in [waiting.pop(each) for each in ready if isinstance(each, socket)]:
                try:
                    messages[member.slot] = member.channel.receive()
                except (EOFError, OSError):
                    self._lose(member, "it has ended")
        return dict(sorted(messages.items()))

    def _send(self, member: Member, message: Encoded) -> None:
        try:
            member.channel.send(message)
        except OSError:
            self._lose(member, "it has ended")

    def _lose(self, member: Member, reason: str) -> None:
        self.members.remove(member)
        member.channel.close()
        self._on_loss(member.slot, reason)


def _replies(calls: list[Message]) -> list[Encoded]:
    """The replies to the calls of all members, which are in the order of their slots."""
    errors = [call["value"] for call in calls if call["call"] == "raised"]
    if errors:
        return [encode({"error": errors[0]})] * len(calls)
    names = {call["call"] for call in calls}
    if len(names) > 1:
        raise RuntimeError(f"the workers called {sorted(names)} at the same time")
    values: list[Any] = [_with_tuples(call["value"]) for call in calls]
    if names == {"begin"}:
        return [encode({"value": values, "rank": rank}) for rank in range(len(calls))]
    return [encode({"value": values if names == {"gather"} else add(values)})] * len(calls)


def _with_tuples(value: Any) -> Any:
    """A value whose tuples have travelled as lists."""
    return tuple(_with_tuples(part) for part in value) if isinstance(value, list) else value
