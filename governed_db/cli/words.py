"""The words from which the demo's shop is made."""

from __future__ import annotations

import unicodedata

from attrs import frozen


@frozen(kw_only=True)
class Country:
    """How people are called and reached in one country. ``#`` stands for a digit."""

    code: str
    language: str
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    street: str
    streets: tuple[str, ...]
    cities: tuple[tuple[str, str], ...]  # with their postal code
    phone: str  # from a range that is kept for fiction


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


COUNTRIES = (
    Country(
        code="DE",
        language="de",
        first_names=_words(
            "Anna Jonas Katharina Lukas Zoë Felix Marie Jürgen Sabine Emre Lena Uwe Aylin Björn Greta Dieter"
        ),
        last_names=_words(
            "Müller Schneider Öztürk Becker Hoffmann Krüger Weiß Vogel Schäfer Köhler Brandt Ziegler Jung"
        ),
        street="{name} {number}",
        streets=("Lindenstraße", "Hauptstraße", "Am Mühlbach", "Goetheweg", "Bergstraße", "Rosengasse"),
        cities=(("Berlin", "10###"), ("Hamburg", "20###"), ("Leipzig", "04###"), ("Köln", "50###")),
        phone="+49 30 23125 ###",
    ),
    Country(
        code="GB",
        language="en",
        first_names=_words(
            "Olivia Harry Amara George Priya Callum Isla Mohammed Freya Owen Grace Declan Zara Alfie Ruth Ian"
        ),
        last_names=_words(
            "Taylor Patel Davies O'Connor Hughes Okafor Walker Khan Bennett Clarke Macdonald Price Shaw Reid"
        ),
        street="{number} {name}",
        streets=("Mill Lane", "Church Road", "Station Road", "Victoria Street", "Orchard Close", "The Green"),
        cities=(("London", "E1 #XX"), ("Leeds", "LS1 #XX"), ("Cardiff", "CF10 #XX"), ("Glasgow", "G1 #XX")),
        phone="+44 7700 900###",
    ),
    Country(
        code="FR",
        language="fr",
        first_names=_words(
            "Chloé Hugo Inès Mathis Élodie Karim Camille Théo Nathalie Yann Manon Rachid Aurélie Benoît"
        ),
        last_names=_words(
            "Martin Bernard Dubois Lefèvre Moreau Benali Girard Rousseau Fontaine Mercier Faure Lemaître"
        ),
        street="{number} {name}",
        streets=(
            "rue des Lilas",
            "avenue Jean-Jaurès",
            "rue du Moulin",
            "place de l'Église",
            "quai Voltaire",
        ),
        cities=(("Paris", "750##"), ("Lyon", "690##"), ("Nantes", "440##"), ("Lille", "590##")),
        phone="+33 6 39 98 ## ##",
    ),
    Country(
        code="US",
        language="en",
        first_names=_words(
            "Emily Jayden Sofia Marcus Hannah DeShawn Mei Tyler Guadalupe Ethan Naomi Carlos Brooke Kwame"
        ),
        last_names=_words(
            "Johnson Garcia Nguyen Williams Rodriguez Kim Thompson Washington Rivera Cohen Adams Brooks Lee"
        ),
        street="{number} {name}",
        streets=("Maple Avenue", "Oak Street", "Sunset Drive", "Washington Street", "Lakeview Court"),
        cities=(("Portland", "972##"), ("Austin", "787##"), ("Chicago", "606##"), ("Boston", "021##")),
        phone="+1 202 555 01##",
    ),
    Country(
        code="PL",
        language="pl",
        first_names=_words("Zofia Jakub Małgorzata Łukasz Agnieszka Paweł Katarzyna Michał Ewa Tomasz Hanna"),
        last_names=_words("Nowak Kowalczyk Wiśniewska Wójcik Zielińska Mazur Krawczyk Dąbrowska Pawlak"),
        street="ul. {name} {number}",
        streets=("Polna", "Leśna", "Krótka", "Ogrodowa", "Kościuszki"),
        cities=(("Warszawa", "00-###"), ("Kraków", "30-###"), ("Gdańsk", "80-###"), ("Wrocław", "50-###")),
        phone="+48 22 000 0# ##",
    ),
)

SHARES = (35, 25, 18, 12, 10)
"""How many of a hundred customers live in each of :data:`COUNTRIES`."""

IBANS = {
    "DE": "00000000##########",
    "GB": "XXXX000000########",
    "FR": "0000000000###########00",
    "PL": "00000000################",
}
"""What follows country and check digits (ISO 13616); bank codes of zeros and X belong to no bank."""

PRODUCTS = {
    "garden": ("Watering Can", "Hand Trowel", "Planter", "Hose Reel", "Pruning Saw", "Seed Box"),
    "kitchen": ("Chef's Knife", "Saucepan", "Mixing Bowl", "Coffee Grinder", "Cutting Board", "Kettle"),
    "lighting": ("Desk Lamp", "Floor Lamp", "Pendant", "Lantern", "String Lights", "Night Light"),
    "office": ("Notebook", "Desk Organiser", "Fountain Pen", "Letter Tray", "Footrest", "Wall Planner"),
    "outdoor": ("Daypack", "Rain Jacket", "Camping Mug", "Head Torch", "Picnic Rug", "Trail Map"),
    "textiles": ("Wool Blanket", "Linen Towel", "Cushion", "Table Runner", "Bath Mat", "Bed Sheet"),
}
ADJECTIVES = _words("Nordic Classic Compact Everyday Handmade Sturdy Light Heritage Folding Travel Grand")
VARIANTS = _words("Small Large 2-Pack Oak Slate Sand Moss Copper White Mk2")

NOTES = (
    "{name} asked to be called back on {phone} after 17:00.",
    "Moved to {street}; old address still on two open orders.",
    "Born {born}, sent a copy of the passport for age check.",
    "Prefers mail to {mail}, never by telephone. Be patient, {first} is hard of hearing.",
    "Chargeback in March, settled. Pays by bank transfer since. Contact: {mail} / {phone}.",
    "VIP. Spouse collects parcels at {street}.",
)

TICKETS = (
    (
        "Where is order {order}?",
        "Hello, order {order} has not arrived at {street}, {city}. Please call {phone}. {name}",
    ),
    (
        "Refund for order {order}",
        "Please refund order {order} to my account and confirm to {mail}. Thanks, {first}",
    ),
    ("Wrong item", "I got somebody else's parcel with order {order}! My address is {street}, {city}. {name}"),
    (
        "Change of address",
        "From next week please deliver to {street}, {city}. You reach me on {phone}. {first}",
    ),
    ("Invoice", "I need an invoice for order {order} in the name of {name}, sent to {mail}."),
    (
        "Delete my account",
        "Please erase everything you hold about me ({name}, {mail}) under article 17 GDPR.",
    ),
)


# Letters that Unicode does not take apart into a base letter and an accent.
_WHOLE = str.maketrans({"ß": "ss", "ł": "l", "'": ""})


def ascii_only(name: str) -> str:
    """Return ``name`` as it would stand in a mail address."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(_WHOLE))
    return "".join(c for c in plain if c.isascii())
