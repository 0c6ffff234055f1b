"""Names of containers and volumes: the rule, and names for those who gave none."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from barque.errors import InvalidArgument

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
RETRIES = 6

ADJECTIVES = tuple(
    """
    able agile airy amber ample ardent avid azure balmy bold brave breezy bright brisk buoyant
    calm candid cheery civil clear clever cosy crisp curious daring deft devoted dreamy eager
    early earnest easy elated fair famous fancy fearless festive fine fluent fond frank free
    fresh friendly gallant gentle gifted glad golden graceful grand handy happy hardy hearty
    honest hopeful humble ideal jolly jovial joyful keen kind lively lofty loyal lucid lucky
    mellow merry mighty mindful modest neat nimble noble open patient placid playful plucky
    polite prime proud quick quiet radiant rapid ready robust rosy serene sharp silent sincere
    sleek smart snug solid spry stable steady stellar stoic sturdy sunny swift tender tidy
    trusty upbeat valiant vivid warm wise witty zealous zesty
    """.split()
)

SURNAMES = tuple(
    """
    abel agnesi alcuin ampere archimedes aryabhata avogadro babbage banneker bardeen bell
    bernoulli bessel bohr boole borlaug bose boyle brahe brahmagupta braille brunel carson
    cassini cauchy cavendish celsius chandrasekhar clarke copernicus coulomb cray curie cuvier
    dalton darwin davy descartes dijkstra dirac doppler eckert edison einstein elion engelbart
    eratosthenes euclid euler faraday fermat fermi feynman fibonacci fleming fourier franklin
    fresnel galileo galois galvani gauss germain gibbs goedel goodall grace haber hadamard halley
    hamilton harvey hawking heisenberg hermite herschel hertz hilbert hodgkin hooke hopper hubble
    humboldt hutton huygens hypatia jacobi jenner johnson joliot joule kelvin kepler khayyam
    kirch kovalevskaya lagrange lamarr lamport laplace lavoisier leavitt leibniz leonardo lewis
    linnaeus liskov lorentz lovelace lumiere lyell mach magellan marconi maxwell mayer mccarthy
    mcclintock mead meitner mendel mendeleev mercator mirzakhani moore morse napier nash neumann
    newton nightingale nobel noether ohm oppenheimer papin pascal pasteur pauli pauling planck
    poincare poisson ptolemy pythagoras raman ramanujan rayleigh ride riemann ritchie roentgen
    rubin rutherford sagan salk shannon snell somerville stokes tesla thales thompson torricelli
    turing tycho vesalius villani volta wallace watt wegener wiles wilson wozniak wu yalow yonath
    zuse
    """.split()
)


def validate_container_name(name: str) -> str:
    """Return ``name`` without its leading slash. Raises InvalidArgument if it breaks the rule."""
    bare = name.removeprefix("/")
    if not _NAME.fullmatch(bare):
        raise InvalidArgument(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    return bare


def validate_volume_name(name: str) -> str:
    """Return ``name``. Raises InvalidArgument if it breaks the rule."""
    if len(name) == 1:
        raise InvalidArgument(
            "volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'"{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )
    return name


def generate_name(is_taken: Callable[[str], bool], last_resort: str) -> str:
    """Return a free ``adjective_surname``; after RETRIES clashes ``last_resort``."""
    for attempt in range(RETRIES):
        name = f"{secrets.choice(ADJECTIVES)}_{secrets.choice(SURNAMES)}"
        if attempt:
            name += str(secrets.randbelow(10))
        if not name.startswith("boring_wozniak") and not is_taken(name):
            return name
    return last_resort


def generate_id(is_taken: Callable[[str], bool]) -> str:
    """Return 64 random hexadecimal digits whose first twelve cannot be read as a number."""
    while True:
        identifier = secrets.token_hex(32)
        if not identifier[:12].isdecimal() and not is_taken(identifier):
            return identifier
