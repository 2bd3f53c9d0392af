"""The fair order against sorting, with more competitors than the machine test can have."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from mesoslite.allocator.roles import Client, Framework, Role, Roles, bits
from mesoslite.allocator.sorter import ClusterTotal, Competitor, FairOrder, Quantities, quantities
from mesoslite.resources import Resources

amounts = st.builds(
    Resources, cpus=st.integers(0, 5), mem=st.integers(0, 5), gold=st.integers(0, 2)
).map(quantities)
TOTAL = quantities(Resources(cpus=40, mem=60, gold=7))


def cluster() -> ClusterTotal:
    total = ClusterTotal()
    total.change(more=TOTAL, less=quantities(Resources.EMPTY))
    return total


@given(
    moves=st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "give", "serve", "total", "weight"]),
            st.text("abc", min_size=1, max_size=3),
            amounts,
        ),
        max_size=60,
    )
)
def test_the_order_is_the_sorted_order_after_any_moves(
    moves: list[tuple[str, str, Quantities]],
) -> None:
    total = cluster()
    members: dict[str, Competitor] = {}
    order: FairOrder[Competitor] = FairOrder(total, lambda _mask: members.values())
    served: dict[str, int] = {}
    for move, name, amount in moves:
        member = members.get(name)
        if move == "add" and member is None:
            members[name] = Competitor(name, mask=1)
            served[name] = 0
            order.add(members[name])
        elif move == "remove" and member is not None:
            order.remove(members.pop(name))
        elif move == "give" and member is not None:
            member.gain(amount)
            order.changed(member)
        elif move == "weight" and member is not None:
            member.set_weight(Fraction(1 + amount[0], 3))
            order.changed(member)
        elif move == "serve" and members:
            poorest = expected(members, served, total)[0]
            assert order.poorest(eligible=1) is poorest
            assert order.give(1, amount) is poorest
            served[poorest.name] += 1
        elif move == "total":
            total.change(more=amount, less=quantities(Resources.EMPTY))
        order.check()
    assert order.in_order() == expected(members, served, total)


def nobody(_mask: int) -> list[Competitor]:
    return []


def expected(
    members: dict[str, Competitor], served: dict[str, int], total: ClusterTotal
) -> list[Competitor]:
    def key(member: Competitor) -> tuple[Fraction, int, str]:
        return exact_share(member, total), served[member.name], member.name

    return sorted(members.values(), key=key)


@given(
    names=st.lists(st.text("ab", min_size=1, max_size=40), unique=True, max_size=60),
    ascending=st.sampled_from([None, True, False]),
)
def test_names_break_ties_in_whatever_order_they_arrive(
    names: list[str], ascending: bool | None
) -> None:
    if ascending is not None:
        names = sorted(names, reverse=not ascending)
    order: FairOrder[Competitor] = FairOrder(cluster(), nobody)
    for name in names:
        order.add(Competitor(name))
    order.check()
    assert [member.name for member in order.in_order()] == sorted(names)


def test_names_that_close_in_on_each_other_are_ranked_anew_in_time() -> None:
    """Each comes between the last two: the gap is halved until there is none."""
    order: FairOrder[Competitor] = FairOrder(cluster(), nobody)
    names = ["a", "b"]
    for _ in range(100):
        names.append(names[-2] + "m" if len(names) % 2 else names[-1][:-1] + "am")
    for name in dict.fromkeys(names):
        order.add(Competitor(name))
        order.check()
    assert [member.name for member in order.in_order()] == sorted(set(names))


@given(
    roles_there=st.sampled_from([1, 2, 40]),
    clients=st.lists(st.tuples(st.integers(0, 39), amounts), min_size=40, max_size=60),
    chosen=st.lists(
        st.lists(st.integers(0, 59), max_size=3) | st.lists(st.integers(0, 59), max_size=60),
        min_size=1,
        max_size=8,
    ),
    gift=amounts,
)
def test_few_of_many_are_served_as_if_the_whole_order_were_walked(
    roles_there: int,
    clients: list[tuple[int, Quantities]],
    chosen: list[list[int]],
    gift: Quantities,
) -> None:
    total = cluster()
    roles = Roles(total, {"r3": Fraction(3)})
    everybody: list[Client] = []
    served: dict[str, int] = {}
    for number, (role_number, amount) in enumerate(clients):
        client = roles.add_client(Framework(f"f{number}", 10), f"r{role_number % roles_there}")
        roles.gain(client, amount)
        everybody.append(client)
    for picks in chosen:
        eligible = {everybody[pick % len(everybody)] for pick in picks} or {everybody[0]}
        by_role = {client.role.name: client.role for client in eligible}
        role = expected_role(by_role, served, total)
        its_own = {client.name: client for client in eligible if client.role is role}
        counts = {name: served.get(name, 0) for name in its_own}
        winner = min(
            its_own.values(), key=lambda c: (exact_share(c, total), counts[c.name], c.name)
        )
        mask = sum(client.mask for client in eligible)
        assert roles.poorest(mask) is winner
        assert roles.give(mask, gift) is winner
        served[winner.name] = served.get(winner.name, 0) + 1
        served["role " + role.name] = served.get("role " + role.name, 0) + 1
        roles.check()


def exact_share(member: Competitor, total: ClusterTotal) -> Fraction:
    all_there_is = total.by_name()
    shares = (Fraction(n, all_there_is[name]) for name, n in member.by_name().items())
    return max(shares, default=Fraction(0)) / member.weight


def expected_role(by_role: dict[str, Role], served: dict[str, int], total: ClusterTotal) -> Role:
    return min(
        by_role.values(),
        key=lambda r: (exact_share(r, total), served.get("role " + r.name, 0), r.name),
    )


@given(st.sets(st.integers(0, 200)))
def test_the_bits_of_a_mask_are_the_slots_that_made_it(slots: set[int]) -> None:
    assert list(bits(sum(1 << slot for slot in slots))) == sorted(slots)
