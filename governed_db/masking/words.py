"""The words around a phrase that decide what it means: whose it is, what kind of table it stands in."""

from __future__ import annotations

from typing import Final

from governed_db.masking.names import phrases, words
from governed_db.masking.phrases import STRONG, VETO_FIRST

SESSION_KEYS: Final = frozenset({("id",), ("sid",), ("session", "id")})
PERSON_VALUE: Final = words(
    """
        customer patient employee student cardholder applicant passenger beneficiary guardian physician
        nurse payee consignee plaintiff defendant claimant policyholder tenant landlord kunde klant cliente
        paciente patiente passenger traveler traveller guest driver attorney lawyer doctor surgeon dentist
        therapist prescriber witness spouse wife husband father mother son daughter parent child
        sibling holder
        titular titulaire inhaber signatory heir debtor creditor borrower lender lessee lessor buyer recipient
        shipper teacher professor tutor supervisor nominee trustee judge notary insured subscriber resident
        citizen voter taxpayer donor volunteer contact arzt arztin medecin medico docteur abogado
        avocat avvocato
        anwalt rechtsanwalt patient empfanger absender destinataire destinatario remitente mittente expediteur
        beneficiaire beneficiario begunstigter locataire inquilino inquilina huurder mieter vermieter bailleur
        lehrer profesor professore docente docent leraar huisarts lekarz pacjent klient odbiorca nadawca
        pracownik empleado empleada employe mitarbeiter dipendente funcionario funcionaria werknemer student
        counsel gp examiner ehegatte behandelaar behandler soignant terapeuta intervenant prestataire
        bearbeiter betreuer alumno
        alumna eleve studente aluno aluna uczen tutore responsable responsabile responsavel
        zeuge temoin
        testigo testimone testemunha getuige swiadek expert gutachter sachbearbeiter anrufer appelant llamante
        owner cotitular conjoint conyuge coniuge ehepartner padre madre pere mere vater mutter pai mae
        guarantor burge garant fiador interviewee interviewer inspector officer deceased
    """
)
"""Nouns that a text column is called by when it holds somebody's name."""
WHERE_BESIDE: Final = words("""
    pickup dropoff pick drop up off home current start end origin destination last known geo work check in
    live
""")
"""Words before coordinates that leave them somebody's whereabouts."""
SORTS: Final = (
    words("""
    nivel niveau nivello livello grupo gruppo groupe categoria categorie estado etat stato segmento segment
    clase classe perfil nummer tipo type typ statut statuto origen origine origem canal canale
""")
    | VETO_FIRST
)
"""What a name begins with that tells one sort of people from another, and names nobody."""
NO_PERSON_IN_ENGLISH: Final = words("kind art tier lid burger assure mere minor major")
"""Dutch, German and French people whose English namesakes are none: ``kind_name`` is the name of a kind."""
KEYS: Final = words("id cod codigo codice fk code number key")
"""What a reference to a row is called by, before or behind what the row is."""
LOGINS: Final = frozenset(
    phrases(
        "user id, uid, user, login id, account, account id, usuario, benutzer, utente, utilisateur, user code"
    )
)
"""What a text beside a password is called that one logs in with."""
MAIL_FIELDS: Final = frozenset(phrases("to, from, cc, bcc, sender, recipient"))
MAIL_HEADER: Final = frozenset(phrases("from, to, cc, bcc, subject, reply to, message id"))
"""Two of these make a table one of messages."""
MAIL_TABLES: Final = words("email mail message inbox outbox mailbox newsletter")
ABOUT_ROWS: Final = words("""
    explanation justification motif motivo avis texte texto testo descripcion descricao descrizione
    detalle detalhe dettaglio omschrijving uwaga opis precision renseignement freitext hinweis
    beschreibung
    detail     description content body subject summary history text info reason statement question
    reply response
    review
""")
"""Free text that describes the row itself: of people only where the row is a person or what one said."""
FREE_TEXT_BESIDE: Final = words(
    """
        performance internal delivery special private admin additional medical general other clinical cover
        personal support order shipping extra free me discharge progress nursing sale handling gift
    """
)

# A person's name, when the table or the words beside it say that it is one.
NAME: Final = words("name nom nome nombre naam nam imya jmeno")
FREE_TEXT: Final = words(
    """
        request note instruction comment comments description body message bio biography about remark
        feedback reason summary content text subject memo transcript narrative complaint observation
        anamnesis history detail resume cv curriculum lebenslauf anschreiben motivation
        verwendungszweck remittance uwaga uwagi opis komentarz tresc anteckning notat obs opm coment
        observ aantekening aantekeningen toelichting omschrijving vermerk hinweis freitext
        begrundung erlauterung motif
        avis precision renseignement texte descripcion detalle motivo anotacion texto descricao
        detalhe anotacao recado descrizione dettaglio annotazione testo anamnese anamnesi
        explanation justification annotation info lausunto
        question reply response bemerkung bemerkungen notiz notizen kommentar beschreibung
        nachricht anmerkung remarque remarques commentaire observacion observaciones observacao observacoes
        comentario nota notas osservazione osservazioni commento messaggio mensaje mensagem opmerking
        opmerkingen notitie bericht letter statement review
    """
)
ASIDE: Final = words("""
    obs opm coment observ
    request note remark comment memo bemerkung notiz anmerkung remarque commentaire observacion comentario
    nota opmerking observacao instruction
""")
"""Free text that people write next to a record, where personal details end up whatever the record is."""
PROFILE: Final = words(
    """
        profile metadata attribute payload raw setting meta data detail info extra properties property
        preference trait document json custom field address contact person profil perfil profilo claim
        identity userinfo answer response body content
    """
)

PERSON: Final = words(
    """
        customer client user employee staff patient person people member contact student pupil teacher guest
        lead applicant candidate driver passenger citizen resident subscriber cardholder holder owner
        profile author recipient sender beneficiary payer payee guardian parent mother father child spouse
        physician doctor nurse prescriber manager supervisor assignee requester reporter buyer seller
        borrower insured claimant witness donor volunteer attendee participant visitor caller callee
        consignee kin worker contractor freelancer emergency household voter taxpayer kunde kunden
        mitarbeiter patienten benutzer nutzer personal angestellte schuler lehrer mieter burger
        ansprechpartner einwohner versicherter client clients utilisateur employe salarie personne eleve
        etudiant adherent abonne citoyen cliente clientes usuario empleado paciente persona alumno
        estudiante ciudadano socio contacto utente dipendente paziente studente cittadino contatto persona
        impiegato funcionario aluno pessoa cidadao klant klanten gebruiker medewerker werknemer patienten
        persoon leerling burger contactpersoon klient pracownik osoba zakaznik zamestnanec polzovatel
        klienty jockey plaintiff defendant judge attorney lawyer counsel solicitor notary policyholder
        insured adjuster player coach trainer referee actor artist singer musician writer editor reviewer
        speaker instructor tutor professor dentist therapist surgeon midwife caregiver carer officer
        inspector investigator suspect victim inmate prisoner soldier veteran invitee trainee mentee
        referrer referee debtor creditor lender landlord lessee lessor broker salesperson salesman seller
        technician engineer developer pilot captain crew groom bride wife husband son daughter sibling
        brother sister parents mae pai madre padre mutter vater mere pere moeder vader conyuge conjoint
        ehepartner medico medecin arzt arts docteur avocat abogado avvocato abonnent mieter vermieter
        bewohner spender mitglied mitglieder teilnehmer fahrer lavoratore trabajador assure usager
        proprietaire locataire beneficiaire destinataire destinatario remitente mittente empfanger absender
        maestro profesor professore insegnante docente doctor friend colleague relative dependent heir
        trustee executor respondent interviewee subscriber follower signee signer requestor approver
        submitter uploader creator human individual principal username admin operator rider courier bewerber
        auftraggeber ansprechperson vertreter antragsteller zeuge schueler student azubi lieferkunde besteller
        empfaenger begunstigter erbe vormund geschadigter halter kaufer verkaufer vermittler
        candidat demandeur
        tuteur temoin titulaire responsable commanditaire acheteur vendeur expediteur emprunteur preteur
        collaborateur membre parrain filleul souscripteur voyageur chauffeur conducteur postulante candidato
        titular tutor testigo comprador vendedor remitente huesped invitado conductor pasajero trabajadora
        alumna empleada afiliado asegurado inquilino propietario socia hijo requerente testemunha comprador
        motorista passageiro hospede inquilino colaborador servidor segurado eleitor morador aluna filho
        candidata intestatario richiedente testimone acquirente venditore autista passeggero ospite inquilino
        collaboratore assicurato genitore figlio socio allievo sollicitant aanvrager getuige koper verkoper
        bestuurder reiziger gast huurder verhuurder verzekerde ouder kind lid deelnemer verzekerden kandydat
        wnioskodawca swiadek kupujacy sprzedawca kierowca pasazer gosc najemca wlasciciel ubezpieczony rodzic
        dziecko czlonek uczestnik uzytkownik uczen odbiorca nadawca lekarz pacjent anbieter kund
        kunder anstalld
        ansatt bruker medlem elev larare lege lakare opposant keeper nok adresat holder party pax
        traveler traveller
        lodger boarder apprentice intern alumnus alumni scholar learner faculty preparer filer spouse nominee
        grantor grantee assignor payor remitter depositor shareholder stakeholder director proprietor proposer
        policyowner injured offender arrestee juror parolee detainee refugee asylum settler pensioner retiree
        gp ctc ehegatte ehegattin survivor decedent patron fiance partnerin lebensgefahrte
        angehoriger angehorige familienmitglied
    """
)
ADJECTIVES: Final = words("personal individual principal human parent relative dependent")
"""Words of PERSON that only say of what kind it is where something follows: ``personal_access_tokens``."""
# Tables in which people write to each other or are written about, whatever they are called.
SPEECH: Final = words("""
    incident accident grievance investigation
    comment claim email mail inbox message chat conversation ticket support complaint encounter visit
    consultation
    appointment call enquiry inquiry referral case interview leave sms thread survey counseling admission
    discharge nachricht termin cita mensaje rendezvous
""")
# A table of these is of places, organisations or things: its name and address are not a person's.
THINGS: Final = words(
    """
        device sensor horse animal pet dog cat cattle vehicle car truck machine app integration resource
        asset equipment event course class document file campaign plan list form template job task role
        permission book film movie song album article page post recipe brand part material color store shop
        warehouse branch office venue restaurant hotel hospital school company organization organisation org
        business vendor supplier merchant partner facility location depot factory plant station airport
        airline bank product country city region server host node site building property filiale firma
        lieferant unternehmen magasin entreprise fournisseur tienda empresa proveedor negozio azienda
        fornitore loja fornecedor winkel bedrijf leverancier team department group project tenant workspace
        manufacturer clinic university institution agency
        segment level tier badge tag item benefit skill stage step route room attribute option feature rank
        specialty speciality program programme package bundle offer reward achievement trophy quest mission
        perk promotion topic interest hobby certificate certification qualification competency
        pipeline queue dashboard tool shift slot cohort bucket milestone goal checklist folder pass
    """
)
# Words beside "name" that keep it a person's.
NAME_BESIDE: Final = words(
    """
        full legal real birth preferred complete complet completo display first contact shipping billing
        ship bill to emergency de du del do da di la le der des van of the on card account attending
        treating referring primary secondary delivery invoice mailing home 1 2 3 alternate alt other signature
        responsible responsavel responsable next new old original phonetic kana kanji romaji latin native
        sur nom
    """
)
NAME_BESIDE_WEAK: Final = words("""
    full display real preferred complete legal public latin native kana kanji 1 2
""")
"""Words that keep a name a name but do not make it a person's by themselves."""
NAME_PERSON: Final = words("""
    shipping billing ship bill emergency contact recipient signature responsible responsavel responsable
    next
""")
"""Words that make a name a person's in any table."""

# pii:<word> in a comment.
COMMENT_LABELS: Final[dict[str, str]] = {
    "email": "EMAIL_ADDRESS",
    "phone": "PHONE_NUMBER",
    "name": "PERSON_NAME",
    "person": "PERSON_NAME",
    "address": "STREET_ADDRESS",
    "dob": "DATE_OF_BIRTH",
    "birthdate": "DATE_OF_BIRTH",
    "ssn": "US_SOCIAL_SECURITY_NUMBER",
    "card": "CREDIT_CARD_NUMBER",
    "pan": "CREDIT_CARD_NUMBER",
    "iban": "IBAN_CODE",
    "ip": "IP_ADDRESS",
    "health": "HEALTH",
    "secret": "SECRET",
    "password": "PASSWORD",
    "token": "AUTH_TOKEN",
    "location": "LOCATION_COORDINATES",
    "text": "FREE_TEXT",
    "json": "JSON_PII",
}

_FIELD_WORDS: Final = words(
    """
        id type kind name value code key number status state count total amount price currency unit date
        time day month year week hour minute second created updated deleted at on by is has version active
        enabled verified confirmed default primary secondary first last middle full title label description
        note tag category group level tier plan role scope permission language lang locale country city
        region province district zip postal street line address phone email contact birth gender age url
        link image avatar photo picture file path size width height weight length color theme font layout
        mode setting preference option config notification newsletter marketing opt in out consent source
        medium campaign referrer referral channel device browser os platform app client server user customer
        account member profile person employee patient order item product sku quantity discount tax subtotal
        shipping billing payment method card brand expiry balance credit point loyalty reward score rank
        rating review comment message subject body text content data meta metadata attribute property field
        extra custom raw payload info detail history log event action result error reason parent child
        children owner author sender recipient from to start end begin min max average sum position index
        sort offset limit page next previous current old new favorite interest hobby job company employer
        department manager team project task priority due latitude longitude lat lng lon location timezone
        zone ip agent session token secret password hash salt api public private allergy medication
        diagnosis symptom blood insurance policy claim emergency family history marital income salary
        facebook twitter linkedin github instagram google apple social handle username login provider
        subscription renewal trial size shoe shirt house apartment floor building suite unit and or of the a
        for with per no not do sms push daily weekly monthly
    """
)
JSON_KEYS: Final = _FIELD_WORDS | frozenset(
    w for ps in STRONG.values() for p in ps for w in p if not w.isdigit()
)
"""Words that keys of a JSON object may be made of to be shown: what fields are called."""

TABLE_AFFIX: Final = words("""
    t tbl tab table tabs f d dim fact fct fact stg stage staging mst mstr master v vw view mv raw hist
    history arch
    archive archived entity data info information record list detail bak backup tmp temp stamm
    stammdaten daten db
    main base basic basis core app sys mdl wp auth res erp crm ods dwh lnk link hub sat mart snapshot current
    active aktiv active actif activo ativo attivo new old all profile account
""")
"""Words of a table's name that say how it is kept, or which application it belongs to."""
SAYS_SO: Final = words(
    "author sender reporter assignee commenter poster requester uploader submitter autor auteur autore"
)
"""Roles that are a person's name where people are in the table; elsewhere, they are a book's."""
NOT_OF_PERSON: Final = words("""
    is has can smtp imap ftp db sql api web mail user http https rpc sender type kind default max min
    num total no
    product device software app oauth server service by for per
""")
"""Words before a role that make it an account, a program, a question or a number."""
CLINICAL: Final = words("""
    obs medical health lab laboratory encounter consultation prescription medication allergy immunization
    vaccination diagnosis
    condition observation vital symptom procedure treatment therapy clinical pathology radiology surgery
    ordonnance consultation receta diagnostico befund diagnose verordnung rezept medikation prescrizione
    referto
    recept behandeling prescricao exame examen wizyta badanie recepta problem
""")
"""A table of these is of what patients have, or are given for it."""
CLINICAL_FIELDS: Final = words("""
    result value finding interpretation abnormal reason sig instruction reaction drug medicine substance
    impression indication complaint assessment symptom outcome wert ergebnis resultat resultado valor valeur
    risultato uitslag wynik allergen vaccine
""")
"""What columns of such a table are called that hold it."""

KNOWN: Final = frozenset().union(
    PERSON, NAME, FREE_TEXT, PROFILE, SPEECH, THINGS, FREE_TEXT_BESIDE, WHERE_BESIDE, NAME_BESIDE, JSON_KEYS,
    PERSON_VALUE, MAIL_TABLES,
)  # fmt: skip
"""Every word that is read as it stands."""
