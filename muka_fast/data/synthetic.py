"""Short English user utterances in 32 classes from a grammar: a corpus without a download."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

# "(a|b|)" is one of its alternatives, which may nest; "{slot}" is one of the values of that slot.
_SLOT_TEXTS = {
    "city": "paris|london|berlin|madrid|rome|tokyo|oslo|dublin|boston|chicago|denver|seattle|austin|miami|toronto|"
    "lisbon|vienna|prague|athens|cairo|delhi|sydney|new york|hong kong|san diego|cape town|buenos aires|warsaw",
    "name": "anna|ben|david|emma|felix|grace|hugo|irene|jack|kate|liam|maria|noah|olga|peter|rosa|sam|tina|victor",
    "person": "{name}|{name}|my (boss|sister|brother|mother|dad|landlord|neighbour|dentist|flatmate)",
    "hour": "(two|three|four|five|six|seven|eight|nine|ten|2|3|4|5|6|7|8|9|10|11)( am| pm| o'clock|)",
    "weekday": "monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    "day": "today|tonight|tomorrow|(on |next |this ){weekday}|this (evening|weekend)",
    "when": "{day}|at {hour}|{weekday} at {hour}|at {hour} (tomorrow|on {weekday})",
    "past": "yesterday|this morning|last (week|month|{weekday})|on {weekday}",
    "number": "two|three|four|five|six|10|12|15|20|25|30|40|50",
    "amount": "{number} (dollars|euros|pounds)|(a |two |three |five )hundred (dollars|euros|pounds)",
    "account": "(savings|checking|current|joint|main|business) account",
    "card": "(credit |debit |bank |)card",
    "shop": "the (airline|pizza place|music store|hotel|supermarket|bookshop|taxi company|gym)|a shop in {city}",
    "flight": "(my|the|{name}'s) flight (to|from) {city}",
    "bag": "suitcase|bag|backpack|luggage|guitar case|pushchair",
    "genre": "jazz|rock|blues|piano music|hip hop|folk|opera|reggae|techno|country music|dance music",
    "song": "summer rain|city lights|cold wind|last flight home|midnight train|heat wave|open door|lost in {city}",
    "list": "(rainy day|dinner party|morning coffee|house cleaning|road trip|workout|{weekday}|{city}) playlist",
    "room": "kitchen|bedroom|living room|hallway|bathroom|office|garage|basement|guest room",
    "door": "(front|back|garage|side|cellar) door",
    "event": "(meeting|call|lunch|dinner|workshop) with {person}|(cooking|yoga|piano) class|(team|project) review",
    "task": "pay the electricity bill|call the bank about my card|send {name} {amount}|return the {item}|pack my {bag}|"
    "turn off the heating|lock the {door}|order {dish}|check the weather|book a flight to {city}|buy a {item}",
    "dish": "pizza|burger|noodle soup|sushi|curry|burrito|caesar salad|lasagne|ramen|fried rice|falafel|chicken soup",
    "side": "fries|garlic bread|coleslaw|onion rings|a cola|lemonade|extra cheese|spring rolls",
    "allergen": "peanut|gluten|dairy|egg|shellfish|soy|sesame|pork|garlic",
    "item": "rain jacket|desk lamp|speaker|suitcase|thermostat|toaster|phone case|winter coat|wall calendar|pizza oven|"
    "door lock|guitar|vacuum cleaner|backpack|pair of (shoes|headphones|jeans)",
    "size": "bigger|smaller|larger|longer|shorter|darker|lighter|newer",
}

# A class: "# label", "!" requests that may follow "can you", "?" sentences, "~" mentions for texts of other domains.
_GRAMMAR = """
# banking: balance ! (check|show me|tell me|look up) (my|the) (bank |account |)balance( on my {account}|) !
(check|see|tell me|find out) how much (money |)(i have|is|is left) (in|on) my {account} ? (what's|how much is) the
balance (of|on|in) my {account} ? how much is left (in|on) my {account} after (i sent {amount} to {name}|the charge
from {shop}) ~ (now that|since|if) my balance is (low|fine)
# banking: card lost ! (block|freeze|deactivate|lock) my (lost |stolen |missing |){card} ! report (my {card}
(lost|stolen|missing)|a (lost|stolen|missing) {card}) ? (i lost|i can't find|someone stole|i've misplaced) my {card}(
in {city}| {past}| at {shop}|) ? my {card} (is gone|is missing|was stolen|has disappeared|fell out of my {bag})( in
{city}|) ? (the charge is mine|there's no charge to dispute|my balance is fine), but (my {card} is gone|i can't find my
{card}) ~ (now that|since) (my {card} was stolen|i lost my {card})
# banking: transfer ! (send|transfer|wire) {amount} to {person}( {day}|) ! (move|transfer) {amount} (from my {account}
|)(to|into) my {account} ! (send|pay) {person} {amount}( from my {account}| {day}| if my balance allows it|) ? i
(want|need|have) to (send|transfer|wire) {amount} to {person}( {day}|) ~ (after|before) i send {amount} to {name}
# banking: dispute charge ! (dispute|contest|reverse|report) (a|the|this) (charge|payment) of {amount}( from {shop}|) !
(look into|dispute|investigate) a ((strange|wrong|double|fraudulent) |)(charge|payment) from {shop} ? i (don't
recognise|never made|didn't authorise) (a|the) (charge|payment) (of {amount}|from {shop}|from {past}) ? {shop}
(charged|billed) (me|my {card}) (twice|{amount} too much|{amount} by mistake) ? (my {card} isn't lost|i still have my
{card}), but there's a (charge|payment) from {shop} (that |)i never made ~ (after|since) {shop} charged me twice
# travel: book flight ! (book|get|reserve|buy) (me |)a (flight|plane ticket|seat on a plane) to {city}( {day}| from
{city}|) ! find (me |)a (cheap |direct |late |)flight from {city} to {city}( {day}|) ? i (want|need|would like) to fly
(to {city}|from {city} to {city})( {day}|) ? my flight to {city} was cancelled, i need (another one|a new one|a seat on
a later one) ? (are there any|which) flights (to {city} leave|from {city} to {city} leave) {day}, i (want|need) a
ticket ~ (before|until|after) i (book|have) a flight to {city}
# travel: cancel flight ! cancel (my|our) (flight|trip|plane ticket|flight booking) to {city}( {day}|) ! (cancel|call
off) the flight (i booked|that's booked) (for {person}|from {city} to {city}) ? i (want|need|have) to cancel my
(flight|trip|ticket) to {city}( {day}|) ? i (can't|won't) (make|take) my flight to {city}( {day}|), (refund the
ticket|cancel it|drop the booking) ? my flight (to {city} |)isn't delayed, but i (won't fly anymore|want my ticket
cancelled) ~ (now that|since) (my|our) trip to {city} is cancelled
# travel: flight status ! (check|tell me|find out) (if|whether) {flight} is (on time|delayed|cancelled) !
(check|track|look up) the status of {flight} ? (is {flight} (on time|delayed|cancelled)|has {flight} (landed|left)) ?
(when|what time) (does|will) {flight} (land|leave|arrive|take off) ? i don't want to cancel my flight to {city}, is it
(delayed|on time|still leaving {day}) ~ (if|since|while) (my|{name}'s) flight to {city} is delayed
# travel: baggage ! (find|trace|track down) my (missing |lost |delayed |)({bag}) from the flight to {city} ! (add|book)
(a|another|an extra) (checked |)({bag}) (to|for) my flight to {city} ? how (many bags|much luggage|heavy a {bag}) can i
(take|bring|check in) (to {city}|on my flight to {city}) ? my {bag} (didn't arrive|got lost|never came out|was damaged)
(in {city}|on the flight from {city}) ? my flight from {city} (landed|was on time|wasn't delayed), but my {bag} (isn't
here|didn't make it) ~ (after|before) i pack my {bag} for {city}
# weather: rain ! (check|tell me|see) (if|whether) it (will|is going to|might) (rain|snow|pour) (in {city}|{day}) !
(check|give me) the (chance|risk) of (rain|snow|showers) (in {city}|{day}) ? (will it (rain|snow)|is it going to snow)
(in {city} |){day} ? (do|will) i need an umbrella (in {city} |){day} ? it's (warm|cold|windy) in {city}, but (will it
be dry|are there showers coming|is it going to rain) {day} ~ (since|while|if) it's (raining|snowing) outside
# weather: temperature ! (check|tell me|look up) (the temperature|how (hot|cold|warm) it is|how many degrees it is) (in
{city}|outside)( {day}|) ! (check|tell me|see) (if|whether) it will (freeze|be (hot|cold|warm)) (in {city}|{day}) ? how
(hot|cold|warm|chilly) (is it|will it be|does it get) in {city}( {day}|) ? (what's|what will be) the
(temperature|high|low) (in {city}|outside) {day} ? (i know it's raining|the rain doesn't matter|never mind the wind) in
{city}, (how (cold|warm) is it|is it warm) {day} ~ (since|when|if) it's (hot|cold|freezing|{number} degrees) outside
# weather: wind ! (check|tell me|see) (how windy it is|how strong the wind is|which way the wind blows) (in
{city}|{day}) ! (check|give me) the wind (speed|forecast|warning) for {city}( {day}|) ? how ((windy|gusty) is
it|(strong|bad) is the wind) in {city}( {day}|) ? (is it|will it be) (too |very |)(windy|gusty|stormy) in {city} {day}
? it (won't rain|isn't cold|is warm enough) in {city}, but (is it|will it be) (windy|blowing hard) {day} ~
(since|while|when|if) it's (windy|blowing hard) outside
# weather: sun times ! (check|tell me|look up) when the sun (rises|sets|comes up|goes down) (in {city}|{day}) !
(check|give me) the (sunrise|sunset) time for {city}( {day}|) ? (when|what time) is (sunrise|sunset) in {city}( {day}|)
? (when|what time) does (the sun (rise|set|come up|go down)|it get (dark|light)) in {city}( {day}|) ? will it
(still|already) be (dark|light) at {hour} in {city} ~ (before|after|until) (sunset|sunrise)
# music: play ! (play|put on|start) (some |){genre}( in the {room}| for {number} minutes|) ! (play|put on) (the song
|){song}( in the {room}| again|) ! (play|start|shuffle) my {list}( in the {room}|) ? i (want|would like|need) to
(hear|listen to) ({song}|some {genre}|my {list})( {day}|) ? (it's too quiet here|the volume is fine), (how about
some|let's hear some) {genre}( in the {room}|) ~ while (i listen to {genre}|{song} is playing)
# music: playlist ! (add|save) ({song}|this song|this track) to my {list} ! (remove|delete|take) ({song}|this song|this
track) (from|off) my {list} ! (create|make|set up) a (new |){list} with (some |){genre} ? i (want|need) ({song}|this
track|more {genre}) (on|in) my {list}(, don't play it now|) ? there's too much {genre} on my {list}, remove some ~
(after|before) i (made|make) my {list}
# music: identify ! (tell me|find out) (what|which) (song|track|artist) (this is|is playing|i'm hearing)( in the
{room}|) ! (identify|name|recognise) (this|the) (song|track|tune)( in the {room}| on my {list}|) ? (what's|what was)
(this|that|the last) (song|track|tune)( called| on my {list}|)( again|) ? (who|which band) (sings|plays|wrote|made)
({song}|this song|this {genre} track) ? i (like|hate) this {genre} (song|track), (who is it by|what's it called|who's
singing) ~ since i don't know (what|which) song this is
# music: volume ! turn the (volume|music|{genre}) (up|down)( a bit| to {number}| in the {room}|) !
(lower|raise|mute|reduce|increase) the (volume|sound)( of {song}| of the music| in the {room}| to {number}|) ? (this
song|the music|the {genre}|{song}) is (too|way too|a bit too) (loud|quiet)( in the {room}|) ? i (can't|can hardly|can
barely) hear (the {genre}|{song}|the music)( in the {room}|), (louder|turn it up|more volume) ? don't stop (the
{genre}|the music|{song}), just (make it|play it) (quieter|louder) ~ (while|since|if) the music is so loud
# smart home: lights ! (turn|switch) (on|off) the (lights|lamp|ceiling lights) in the {room}( {when}|) ! (turn|switch)
the {room} (lights|lamp) (on|off)( when the heating (goes off|comes on)| after the heating|) ! (dim|brighten) the
(lights|lamp) in the {room}( to {number} percent|) ? (when|after) the heating (goes off|comes on), turn the {room}
lights (on|off) ? it's (too |so |)(dark|bright) in the {room} ~ (when|after|once) the {room} lights (go off|come on)
# smart home: heating ! (turn|switch) (on|off|up|down) the (heating|heat|thermostat|radiator) in the {room}( {when}|) !
(turn|switch) the {room} (heating|heat|radiator) (on|off)( when the lights (go off|come on)| after the lights|) !
(set|change) the (heating|thermostat) (in the {room} |)to {number} degrees( {when}|) ? (when|after) the {room} lights
(go off|come on), turn the heating (on|off) ? it's (too |so |)(cold|hot|warm|stuffy) in the {room} ~
(when|after|once|while) the heating (warms up|goes off|comes on)
# smart home: door lock ! (lock|unlock) the {door}( {when}| when the lights go off| for {person}|) ! (check|see)
(if|whether) the {door} is (locked|unlocked|shut)( {when}|) ? (is|did i leave|have i left) the {door}
(locked|unlocked|open)( {day}|) ? (don't let|let) {person} in (through|by) the {door}( {day}|) ? (after|when|once) the
vacuum is done, (lock|unlock) the {door} ~ (when|once|after) the {door} is (locked|open)
# smart home: vacuum ! (start|stop|send|run) the (vacuum|robot vacuum|robot) (in|for) the {room}( {when}|) !
(vacuum|hoover|clean) the {room}( floor|)( {when}| when the {door} is locked|) ? (after|when|once) the {door} is
(locked|shut), (start|run|send out) the (vacuum|robot)( in the {room}|) ? (the {room} floor is|the carpet in the {room}
is) (dirty|dusty|full of crumbs)( again|)( {day}|) ? is the (robot|vacuum) (still running|stuck|finished) in the {room}
~ (while|when|after) the (vacuum|robot) (is running|cleans the {room})
# calendar: add event ! (put|enter) (a|the) {event} in my calendar {when} ! (set up|schedule|plan) (a|the) {event}
{when} ? i('ve got| have) (a|the) {event} {when}, (put it in|add it|write it down) ? (my flight|the party|my delivery)
is (cancelled|off), (put|schedule) (a|the) {event} {when} instead ~ (before|after|during) my {event}
# calendar: cancel event ! (cancel|delete|remove|call off) (my|the) {event}( {when}|) ! (take|clear|wipe) (my|the)
{event} (off|from) my calendar( {when}|) ? i (can't|won't) (make it to|go to|attend) (my|the) {event} {when}(, cancel
it|) ? don't (remind me of|move) (my|the) {event} {day}, (cancel|delete) it ~ now that my {event} is off
# calendar: reminder ! remind me (to {task} {when}|{when} to {task}|to {task}) ! set (a reminder|an alert) (for me |)to
{task}( {when}|) ! remind me (about|of) (my|the) {event} {number} minutes (before|early|ahead) ? (don't let me
forget|make sure i remember|i mustn't forget) to {task}( {when}|) ~ after you reminded me of my {event}
# calendar: schedule ! (tell|show) me (what's|what i have) (on my calendar|planned|on my schedule) {when} !
(check|see|find out) (if|whether) i('m| am) (free|busy|available) {when} ? (am i|will i be) (free|busy|available)
{when}( for (a|the) {event}|) ? (what's|what do i have) (on|in) my calendar {when} ? (when|what time|what day) is
(my|the) {event}( this week| next week|)( again|) ~ (if|since|while) i'm (free|busy) {when}
# food: order ! (order|get) (me |us |)(some |{number} portions of |){dish}( with {side}| and {side}|)( to the office|
for {person}|) ! (order|place an order for) {dish}( for {number} people| without {allergen}| with {side}|) ? (i'd
like|i'll have|i want) (the |some |){dish} (with|and|but no) {side} ? my last order is (here|fine), (but we need|now i
want) (one more|another) {dish}( with {side}|) ~ (after|before|while) i (eat|have) (my|the) {dish}
# food: change order ! (change|edit|update) my (food |)order (from {dish} to {dish}|and make it {dish}) ! (add {side}
to|remove {side} from) (my|the) ({dish} |)order ! (replace|swap) the {side} (in|on) my order (with|for) {side} ? (i
ordered|my order says) {dish}, (but i want|make it|make that) {dish} (instead|please) ? (my order isn't late|the rider
isn't here), (but|so) (take off|put in|leave out) the {side} ~ since i changed my {dish} order
# food: track delivery ! (track|check on|locate) (my|the) ({dish} |food |lunch |dinner )(delivery|rider|order) ! (tell
me|find out) (when|how soon) (my|the) {dish} (will arrive|gets here|will be delivered) ? (where's|where is) (my|our)
({dish}|food|dinner|lunch)( delivery|)( already|) ? i ordered {dish} (with {side} |)({number} minutes ago|an hour
ago|at {hour}), (where is it|it still isn't here) ? i don't want to change my {dish} order, (where is it|when does it
get here|how far away is the rider) ~ (while|until|when) (the|my) {dish} is on its way
# food: ingredients ! (check|tell me|find out) (if|whether) the {dish} (has|contains|is made with) {allergen} !
(list|tell me|look up) (the ingredients|the allergens|what's) in the {dish} ? is there (any |){allergen} in the {dish}(
with {side}|) ? {name} (is allergic to|can't eat) {allergen}, is the {dish} (safe|ok) ? before i order the {dish}, (is
it|is that dish) (vegan|vegetarian|free of {allergen}) ~ (since|as) {name} is allergic to {allergen}
# shopping: find product ! (find|show) me a (good |cheap |blue |red |black |){item}( under {amount}| for {person}|) !
(search|look) for a (new |cheap |used |){item}( under {amount}| for {person}|) ? (do you (sell|stock|carry)|have you
got) (a |any )(blue |red |black |){item}( under {amount}|) ? i('m looking for| need| want to buy) a (new |good
|){item}( for {person}| for my trip to {city}|) ? i (sent back|returned|exchanged) my (old |){item}, (now i want to
buy|now i need to find) a {item} ~ (before|after|until) i (find|buy) a (new |){item}
# shopping: return ! (return|send back) the {item} (i bought|i got) {past} ! (refund|take back) (my|the) {item}( i
bought {past}|) ? (i want|i'd like|can i get) (a refund|my money back) for the {item}( i bought {past}|) ? i don't want
(an exchange|another {item}), i want (a refund|my money back)( for this {item}|) ? the {item} (is broken|doesn't work),
(i want my money back|refund it) ~ (after|before) i return the {item}
# shopping: exchange ! (exchange|swap) (my|the|this) {item} for (a {size} one|a {item}|another colour) !
(replace|exchange) the {item} (i bought|i got) (with|for) (a {size} one|a new one) ? i don't want (a refund|my money
back)( for the {item}|), i want (an exchange|a {size} one|another {item}) ? (the|my) {item} (i bought |)(is|seems) the
wrong (size|colour), (can i swap it|i need a {size} one) ? (i won't keep this|this isn't the right) {item}, (give
me|send me) a {size} one (instead|for it) ~ (since|after) i exchanged the {item}
# shopping: track parcel ! (track|locate|check on) (my|the) (parcel|package|shipment) with the {item} ! (tell me|find
out) (when|if) the {item} (i ordered|from my order) (will arrive|has shipped) ? (where's|where is) (my|the)
(parcel|package|shipment|{item} i ordered)( from {city}|)( now|) ? (my|the) {item} was supposed to (arrive|be
delivered) {past}, (where is it|what happened to it) ? i don't want to return the {item}, it (never|hasn't|still
hasn't) (arrived|shown up|been delivered) ~ (now that|when|until) my parcel with the {item} (arrives|is here)
"""

_PLAIN = (
    "(please |can you |could you (please |)|i need you to |i'd like you to |hey, |would you |){do}{end}",
    "(hi, |hey, |quick question, |um, |hello, |sorry, |well, |){say}(, thanks|, thank you|||)",
)
_MENTION = ("{aside}, (please |can you |){do}", "{aside}, {say}", "(please |can you |could you |){do} {aside}{end}")
# The wanted and the unwanted request come in either order, so that single words do not separate them.
_CONTRAST = (
    "(please |)don't {other}, {do}",
    "{do}, (but |and |)(please |)don't {other}",
    "(you don't have to|no need to|you needn't) {other}, (just |but |please |){do}",
    "{do}, (you don't have to|no need to|you needn't) {other}",
    "rather than {other}, (please |i'd like you to |){do}",
    "(please |can you |){do} rather than {other}",
    "i (didn't ask|never asked) you to {other}, i asked you to {do}",
    "i asked you to {do}, (not to|i never asked you to) {other}",
    "when i said {other}, i (really |)meant {do}",
    "i (really |)meant {do} when i said {other}",
    "last time i asked you to {other}, this time {do}",
    "(please |){do} this time, last time i asked you to {other}",
    "i asked you to {other} by mistake, (please |){do}( instead|)",
    "(never mind|forget it|no), don't {other}, {say}",
)
_ENDS = "(, thanks| please|, thank you| asap||||||)"
_CONTRAST_SHARE, _MENTION_SHARE, _SAME_DOMAIN_SHARE, _RESPELT_SHARE, _TYPO_SHARE = 0.08, 0.15, 0.6, 0.2, 0.15
_SPELLING_TEXT = (
    "can't=cannot;didn't=did not;doesn't=does not;don't=do not;hasn't=has not;i'd=i would;i'm=i am;isn't=is not;"
    "it's=it is;what's=what is;where's=where is;won't=will not;account=acct;minutes=mins;please=pls;thanks=thx;you=u"
)
_SPELLINGS = dict(re.findall(r"([^=;]+)=([^;]+)", _SPELLING_TEXT))
_TRIES = 100

_PART = re.compile(r"\(([^()]*)\)|\{(\w+)\}")
_SLOTS = {name: tuple(re.split(r"\|(?![^(]*\))", values)) for name, values in _SLOT_TEXTS.items()}


def _read(grammar: str) -> dict[str, dict[str, list[str]]]:
    templates: dict[str, dict[str, list[str]]] = {}
    for block in grammar.split("#")[1:]:
        label, *parts = re.split(r" ([!?~]) ", " ".join(block.split()))
        templates[label] = {"!": [], "?": [], "~": []}
        for mark, template in zip(parts[::2], parts[1::2], strict=True):
            templates[label][mark].append(template)
    return templates


_TEMPLATES = _read(_GRAMMAR)
DOMAINS: tuple[str, ...] = tuple(dict.fromkeys(label.partition(":")[0] for label in _TEMPLATES))
INTENTS: dict[str, tuple[str, ...]] = {
    domain: tuple(label for label in _TEMPLATES if label.startswith(f"{domain}:")) for domain in DOMAINS
}


def _choice(options: Sequence[str], random: np.random.Generator) -> str:
    return options[int(random.integers(len(options)))]


def _expand(template: str, random: np.random.Generator) -> str:
    used: set[str] = set()

    def fill(part: re.Match[str]) -> str:
        if part[2] is None:
            return _choice(part[1].split("|"), random)
        # No value twice, against "from rome to rome".
        values = _SLOTS[part[2]]
        value = _choice([value for value in values if value not in used] or values, random)
        used.add(value)
        return value

    while "(" in template or "{" in template:
        template = _PART.sub(fill, template)
    return template


def _respell(text: str, random: np.random.Generator) -> str:
    def respell(match: re.Match[str]) -> str:
        word = match[0]
        if word not in _SPELLINGS or random.random() >= _RESPELT_SHARE:
            return word
        return word.replace("'", "") if "'" in word and random.random() < 0.5 else _SPELLINGS[word]

    return re.sub(r"[a-z']+", respell, text)


def _mistype(text: str, random: np.random.Generator) -> str:
    words = [match.span() for match in re.finditer(r"[a-z]{4,}", text)]
    if not words:
        return text
    start, end = words[int(random.integers(len(words)))]
    at = int(random.integers(start + 1, end - 1))
    swap, drop, double = text[at + 1] + text[at], text[at + 1], text[at] * 2 + text[at + 1]
    return text[:at] + _choice((swap, drop, double), random) + text[at + 2 :]


def _compose(label: str, random: np.random.Generator) -> str:
    domain, draw = label.partition(":")[0], random.random()
    frames: tuple[str, ...] = _PLAIN
    if draw < _CONTRAST_SHARE + _MENTION_SHARE:
        frames = _CONTRAST if draw < _CONTRAST_SHARE else _MENTION
    elsewhere = INTENTS[_choice([other for other in DOMAINS if other != domain], random)]
    unwanted = INTENTS[domain] if random.random() < _SAME_DOMAIN_SHARE else elsewhere
    template = _choice(frames, random).format(
        do=_choice(_TEMPLATES[label]["!"], random),
        say=_choice(_TEMPLATES[label]["?"], random),
        other=_choice(_TEMPLATES[_choice([other for other in unwanted if other != label], random)]["!"], random),
        aside=_choice(_TEMPLATES[_choice(elsewhere, random)]["~"], random),
        end=_ENDS,
    )
    text = _respell(_expand(template, random), random)
    if random.random() < _TYPO_SHARE:
        for _ in range(int(random.integers(1, 3))):
            text = _mistype(text, random)
    return text


def utterances(count: int, seed: int, domains: Sequence[str] = DOMAINS) -> list[tuple[str, str]]:
    """Write labelled utterances, the classes as balanced as the count allows, in random order.

    Args:
        count: How many.
        seed: Seed of every random choice.
        domains: Domains whose intents are the classes; passing mentions and unwanted requests are from all domains.

    Returns:
        Pairs of a text and its label, no text twice.

    Raises:
        ValueError: If a domain is unknown or none is given, or the grammar has no more texts of a class.
    """
    if not domains or not set(domains) <= set(DOMAINS):
        raise ValueError(f"the domains must be some of {', '.join(DOMAINS)}, not {list(domains)}")
    random = np.random.default_rng(seed)
    labels = [label for domain in dict.fromkeys(domains) for label in INTENTS[domain]]
    order = [labels[int(index)] for index in random.permutation(len(labels))]
    texts: dict[str, str] = {}
    for index in range(count):
        label = order[index % len(order)]
        tries = (_compose(label, random) for _ in range(_TRIES))
        text = next((text for text in tries if text not in texts), None)
        if text is None:
            raise ValueError(f"no {count} different texts: {label!r} ran out after {index // len(order)}")
        texts[text] = label
    pairs = list(texts.items())
    return [pairs[int(index)] for index in random.permutation(len(pairs))]
