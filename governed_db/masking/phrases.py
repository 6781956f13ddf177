"""The phrases that columns are called by, as data.

A phrase is a sequence of words as :func:`~governed_db.masking.names.tokens` gives them. Languages: English,
German, French, Spanish, Italian, Portuguese, Dutch, and the usual romanised words of Polish, Czech and
Russian. Labels are infoTypes of Google's Sensitive Data Protection where it has one
(https://cloud.google.com/sensitive-data-protection/docs/infotypes-reference), else ours.
"""

from __future__ import annotations

from typing import Final

from governed_db.masking.names import phrases, words
from governed_db.masking.tongues import WORLD

# Said anywhere in a name, these tell what the column holds.
_ENGLISH_FIRST: Final[dict[str, str]] = {
    "EMAIL_ADDRESS": """
            email, e mail, mail address, mailaddress, reply to, courriel, correo, correo electronico,
            mailadresse, mail adresse, mailadres, emailadresse, adresse mail, adresse email, adresse
            electronique, direccion correo, direccion de correo, direccion email, indirizzo mail, indirizzo
            email, endereco email, endereco de email, e mail adres, posta elettronica, poczta, pec, mel
        """,
    "PHONE_NUMBER": """
            phone, telephone, mobile, mobile number, cell phone, cellphone, cell number, fax, msisdn,
            whatsapp, telefon, telefonnummer, telefonnr, rufnummer, handy, handynummer, mobilnummer, mobil,
            mobiel, movil, mobiltelefon, mobilfunk, tel, tel number, tel no, tel nr, caller number, callee
            number, calling number, called number, caller id number, landline, portable number, telefono,
            movil, celular, cellulare, telefone, telemovel, telefoon, telefoonnummer, gsm, contact number,
            contact no, dialed number, sms number, numero tel, telecopie, komorka, telefonu, facsimile
        """,
    "FIRST_NAME": """
            first name, given name, fore name, forename, fname, vorname, rufname, prenom, primer nombre,
            nombre de pila, primeiro nome, voornaam, imie, jmeno, imya, christian name, prenume
        """,
    "LAST_NAME": """
            last name, surname, family name, lname, maiden name, birth name, sur name, nachname,
            familienname, geburtsname, nom de famille, nom famille, nom de naissance, nom naissance, nom
            usage, surname at birth, name at birth, familia, family name at birth, apellido, apellidos,
            cognome, sobrenome, apelido, achternaam, tussenvoegsel, nazwisko, prijmeni, familiya, second
            surname
        """,
    "PERSON_NAME": """
            full name, fullname, middle name, middlename, mname, cardholder, card holder, person name, legal
            person name, account holder name, kontoinhaber, karteninhaber, nombre completo, nome completo,
            nom complet, nome e cognome, volledige naam, naam houder, name of holder, next of kin,
            otchestvo, patronymic, imie i nazwisko, medico curante, medecin traitant, ordering provider,
            referring provider, attending provider, rendering provider, signatory, signer name, ship to
            name, bill to name
        """,
    "STREET_ADDRESS": """
            address, addr, addres, street, strasse, street name, address name, hausnummer, house number,
            house no, anschrift, adresse, adres, adrese, direccion, domicilio, residenza, residence address,
            residential address, calle, indirizzo, endereco, logradouro, rua, straat, straatnaam,
            huisnummer, rue, voie, adressezeile, apartment number, street number, address line, addr line,
            wohnadresse, privatadresse, lieferadresse, rechnungsadresse, ulica, ulice, adresa
        """,
    "POSTAL_CODE": """
            zip, zip code, zipcode, postal code, postalcode, post code, postcode, postal, plz, postleitzahl,
            code postal, codigo postal, codice postale, codice avviamento postale, kod pocztowy, psc
        """,
    "DATE_OF_BIRTH": """
            date of birth, birth date, birthdate, birth day, birthday, dob, birth year, year of birth, birth
            month, born on, born at, born, geburtsdatum, geburtstag, gebdatum, gebdat, geb datum, geb dat,
            geburtsjahr, date naissance, date de naissance, fecha nacimiento, fecha de nacimiento, data
            nascita, data di nascita, data nascimento, data de nascimento, data nasc, dt nasc, dt
            nascimento, fecha nac, fec nac, date naiss, geboortedatum, data urodzenia, datum narozeni,
            geboren
        """,
    "PLACE_OF_BIRTH": """
            place of birth, birth place, birthplace, birth city, city of birth, geburtsort, ville de
            naissance, ville naissance, pays naissance, ciudad nacimiento, citta nascita, comune nascita,
            lieu de naissance, lieu naissance, lugar de nacimiento, lugar nacimiento, luogo di nascita,
            luogo nascita, naturalidade, local de nascimento, geboorteplaats
        """,
    "CREDIT_CARD_NUMBER": """
            card number, card no, card num, cardnumber, credit card, creditcard, debit card, cc number, cc
            num, ccnum, cc no, primary account number, kreditkarte, kreditkartennummer, carte bancaire,
            numero carte, numero de carte, tarjeta credito, tarjeta de credito, numero tarjeta, numero de
            tarjeta, carta di credito, numero carta, cartao de credito, cartao credito, numero cartao,
            creditcardnummer, kartennummer, kaartnummer, card pan
        """,
    "CREDIT_CARD_CVV": """
            cvv, cvc, cvn, csc, card verification, card security code, security code, prufziffer karte,
            cryptogramme
        """,
    "CREDIT_CARD_EXPIRATION_DATE": """
            card expiry, card expiration, card exp, card valid thru, cc exp, cc expiry, exp month, exp year,
            expiry month, expiry year, expiration month, expiration year, kartenablauf
        """,
    "IBAN_CODE": "iban",
    "SWIFT_CODE": "bic, bic code, swift, swift code, swift bic",
    "BANK_ACCOUNT_NUMBER": """
            bank account, bankaccount, account number, account no, acct no, acct num, acct number,
            kontonummer, bankkonto, bankverbindung, numero compte, numero de compte, compte bancaire, rib,
            numero cuenta, numero de cuenta, cuenta bancaria, clabe, numero conto, conto corrente, conta
            bancaria, conta corrente, numero da conta, rekeningnummer, bankrekening, bban
        """,
    "BANK_ROUTING_NUMBER": """
            routing number, routing no, aba number, aba routing, sort code, sortcode, bankleitzahl, blz,
            transit number, ifsc, ifsc code, bsb
        """,
    "US_SOCIAL_SECURITY_NUMBER": """
            ssn, social security, social security number, socialsecurity, soc sec, itin
        """,
    "NATIONAL_ID": """
            national id, nationalid, national identification, national number, national insurance, nin,
            nino, citizen id, citizen number, identity number, identity card, identity document, id card
            number, identification number, government id, govt id, voter id, residence permit, personnummer,
            personal number, personal id number, npi, personalausweis, ausweisnummer, ausweisnr,
            sozialversicherungsnummer, sozialversicherung, rentenversicherungsnummer, ahv, ahv nummer, svnr,
            numero securite sociale, numero de securite sociale, securite sociale, num secu, insee, nir,
            cni, dni, nie, nif, curp, cedula, documento identidad, documento de identidad, numero documento,
            seguridad social, numero seguridad social, codice fiscale, codicefiscale, carta identita, carta
            d identita, cpf, cnh, rg number, bi number, bsn, burgerservicenummer, rijksregisternummer,
            aadhaar, aadhar, pesel, rodne cislo, snils, hkid, nric, cpr number, fodselsnummer,
            henkilotunnus, emirates id, known traveler number, redress number, dea number, ptin, voter
            registration, voter number, nat ins, numero secu, secu social, numero de secu, citizen number,
            ni number, social insurance, social insurance number
        """,
    "TAX_ID": """
            tax id, taxid, tax number, tax no, tax identification, taxpayer id, tin, ein, vat number, vat
            id, vat no, vatin, steuer id, steuerid, steuernummer, steueridentifikationsnummer, ustid, ust
            id, umsatzsteuer id, umsatzsteueridentifikationsnummer, numero fiscal, identifiant fiscal,
            numero tva, nif fiscal, partita iva, piva, cnpj, nit, rut, cuit, cuil, btw nummer, inn, nip, dic
        """,
    "PASSPORT": """
            passport, passport number, passport no, reisepass, reisepassnummer, passnummer, passeport,
            pasaporte, passaporto, passaporte, paspoort, paspoortnummer, visa number
        """,
    "DRIVERS_LICENSE_NUMBER": """
            driver license, drivers license, driver licence, drivers licence, driving license, driving
            licence, dl number, dl no, fuhrerschein, fuehrerschein, fuhrerscheinnummer, permis de conduire,
            permis conduire, licencia de conducir, licencia conducir, carnet de conducir, patente guida,
            patente di guida, carta de conducao, rijbewijs
        """,
    "LICENSE_PLATE": """
            license plate, licence plate, number plate, plate number, plate no, kennzeichen,
            autokennzeichen, immatriculation, plaque immatriculation, matricula vehiculo, targa, kenteken,
            registration plate, vehicle registration, vehicle plate, car plate, car registration
        """,
    "VEHICLE_IDENTIFICATION_NUMBER": """
            vin, vin number, vehicle identification, chassis number, fahrgestellnummer, numero chasis,
            numero telaio
        """,
    "IP_ADDRESS": """
            ip, ip address, ip addr, ipaddress, ipaddr, ipv 4, ipv 6, remote addr, remote address, client
            ip, source ip, x forwarded for, adresse ip, direccion ip, indirizzo ip, endereco ip
        """,
    "MAC_ADDRESS": """
            mac address, mac addr, macaddress, macaddr, mac, bssid, hardware address, bluetooth address
        """,
    "IMEI_HARDWARE_ID": "imei, meid, esn",
    "IMSI_ID": "imsi",
    "SIM_ID": "iccid, sim serial, sim number",
    "ADVERTISING_ID": "idfa, gaid, aaid, advertising id, ad id device",
    "MEDICAL_RECORD_NUMBER": """
            mrn, medical record, medical record number, patient number, nhs number, nhs no, chart number,
            patientennummer, numero dossier medical, historia clinica, cartella clinica
        """,
    "INSURANCE_NUMBER": """
            insurance number, insurance id, insurance no, insurance policy number, health insurance,
            medicare, medicaid, hicn, versichertennummer, versicherungsnummer, verzekeringsnummer,
            polizzennummer, krankenversicherungsnummer, numero assurance, numero mutuelle, numero poliza,
            tessera sanitaria, polisnummer, insurance member
        """,
    "HEALTH": """
            diagnosis, diagnose, diagnostic, diagnostico, diagnosi, diagnoza, icd 10, icd 9, icd 11, icd,
            icd code, allergy, allergie, alergia, medication, medikament, medicament, medicamento, medicine,
            prescription, blood type, blood group, blutgruppe, groupe sanguin, grupo sanguineo, bloedgroep,
            symptom, treatment, behandlung, traitement, tratamiento, lab result, test result medical, hiv,
            hiv status, disability, behinderung, handicap, discapacidad, disabilita, pregnancy, pregnant,
            medical condition, medical history, medical note, health condition, health status, health note,
            mental health, vaccination, vaccine, immunization, impfung, impfstatus, krankheit, krankenkasse,
            vorerkrankung, antecedent, enfermedad, malattia, ziekte, special need, chronic condition,
            surgery, biopsy, genetic, genotype, dna sequence, smoker, smoking status, bmi, therapy, disease,
            chief complaint, drug name, smoking, gruppo sanguigno, grupo sanguineo, tipo sanguineo, groupe
            sanguin, dietary restriction medical, psychiatric, psychological, rehab, comorbidity, prognosis,
            pathology, radiology finding, hospitalization
        """,
    "GENDER": """
            gender, sex, geschlecht, sexe, sexo, genero, sesso, genere, geslacht, plec, gender identity,
            pronoun
        """,
    "ETHNIC_GROUP": """
            ethnicity, ethnic, ethnic group, race, ethnie, etnia, ethnische, raza, razza, raca, caste, tribe
        """,
    "RELIGION": """
            religion, religious, konfession, religione, religiao, geloof, faith, denomination
        """,
    "SEXUAL_ORIENTATION": """
            sexual orientation, sexual preference, sexuality, sexuelle orientierung, orientation sexuelle
        """,
    "POLITICAL_OPINION": """
            political party, political affiliation, political opinion, political view, partei, parti
            politique, partido politico, party affiliation, party registration, party membership
        """,
    "TRADE_UNION": """
            trade union, union member, union membership, gewerkschaft, syndicat, sindicato
        """,
    "MARITAL_STATUS": """
            marital status, marital, civil status, relationship status, familienstand, etat civil, situation
            familiale, estado civil, stato civile, burgerlijke staat, stan cywilny, spouse
        """,
    "NATIONALITY": """
            nationality, citizenship, staatsangehorigkeit, staatsangehoerigkeit, nationalitat, nationalite,
            nacionalidad, nazionalita, cittadinanza, nacionalidade, nationaliteit, immigration status
        """,
    "AGE": "age year, customer age, patient age, edad, leeftijd, idade, eta anni",
    "INCOME": """
            salary, wage, income, bonus amount, annual bonus, compensation, pay rate, hourly rate employee,
            payslip, gehalt, lohn, einkommen, bruttogehalt, nettogehalt, salaire, revenu annuel, salario,
            sueldo, nomina mensual, ingreso anual, stipendio, reddito, salaris, inkomen, net worth, gross
            pay, net pay, base pay, take home pay, monthly pay, adjusted gross income, gross income, salaire
            brut, verdienst, vergutung, remuneracion, retribuzione, loonstrook
        """,
    "CREDIT_SCORE": "credit score, fico, schufa, credit rating, bonitat, bonitaet",
    "BIOMETRIC": """
            fingerprint template, fingerprint image, biometric, face embedding, face encoding, faceprint,
            iris scan, iris template, retina scan, voiceprint, voice print, facial
        """,
    "LOCATION_COORDINATES": """
            home lat, home lng, home latitude, home longitude, current lat, current lng, last lat, last lng,
            last known location, geolocation, home location, current location
        """,
    "USERNAME": """
            username, user name, login name, screen name, nick name, nickname, benutzername, nutzername, nom
            utilisateur, nom d utilisateur, pseudo, nombre usuario, nombre de usuario, nome utente, nome de
            usuario, nome usuario, gebruikersnaam, twitter handle, user handle, gamertag, gamer tag, skype,
            telegram, login id
        """,
    "PASSWORD": """
            password, passwd, pwd, pass word, passphrase, pass phrase, pass hash, pass salt, passcode,
            kennwort, passwort, mot de passe, mot passe, mdp, contrasena, clave acceso, parola, senha,
            palavra passe, wachtwoord, haslo, heslo, parol, crypted pass
        """,
    "AUTH_TOKEN": """
            token, jwt, bearer, session key, session cookie, cookie value, session secret, magic link,
            session data, csrf, access code auth, sess, jeton
        """,
    "API_KEY": """
            api key, apikey, access key, accesskey, api token, app key, application key, license key, access
            key id
        """,
    "ENCRYPTION_KEY": """
            private key, privatekey, encryption key, signing key, secret key, master key, key material, ssh
            key, pgp key, symmetric key, hmac key, aes key, rsa key, private pem, schlussel privat,
            keystore, pkcs 12, wallet seed, seed phrase, mnemonic, data key
        """,
    "SECRET": """
            secret, credential, otp, totp, hotp, mfa, two factor, 2 fa, twofactor, recovery code, backup
            code, pin code, pin hash, puk, security answer, security question, secret answer, salt, one time
            code, verification code, zugangsdaten, connection string, security stamp, dsn, database url, db
            url, webhook secret, client secret, shared secret, htpasswd, totp seed
        """,
}
STRONG: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    label: phrases(f"{_ENGLISH_FIRST.get(label, '')}, {WORLD.get(label, '')}")
    for label in dict.fromkeys((*_ENGLISH_FIRST, *WORLD))
}

# Too short or too common to be trusted inside a longer name: they must be the whole name, save for
# tails and the words in PERSON.
ALONE: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    label: phrases(text)
    for label, text in {
        "EMAIL_ADDRESS": """
            mail, emailid, email id, from address, to address, cc address, bcc address
        """,
        "DATE_OF_BIRTH": "naissance, nacimiento, nascita, nascimento, nasc",
        "PHONE_NUMBER": """
            mob, cell, gsm, home number, work number, office number, business number, day number, evening
            number, ph, a number, b number, callee, calling, called
        """,
        "STREET_ADDRESS": "line 1, line 2, line 3, street 1, street 2, addr 1, addr 2",
        "CREDIT_CARD_NUMBER": "pan, card",
        "CREDIT_CARD_EXPIRATION_DATE": "cc exp, exp date card",
        "NATIONALITY": "nation",
        "NATIONAL_ID": "sin, rg, cf, id number, id no, id card, document number, bi",
        "MEDICAL_RECORD_NUMBER": "mr number",
        "SECRET": "pin, backup pin, pin number",
        "USERNAME": "login, handle, uname",
        "IP_ADDRESS": "client address, remote host, source address, addr ip",
        "AGE": "age",
        "HEALTH": "condition, drug, procedure medical",
        "INCOME": "pay",
        "FIRST_NAME": "first, given, second name",
        "LAST_NAME": "last, family",
        "BIOMETRIC": "fingerprint",
        "TAX_ID": "vat",
        "PASSWORD": "pass",
        "PHOTO": "photo, foto, picture, portrait, zdjecie",
    }.items()
}
# Of those, the ones that mean it in a table about people only.
ALONE_PERSON: Final = frozenset(
    phrases("""
        first, last, given, family, nation, cell, ph, photo, foto, picture, portrait, zdjecie, age,
        condition, drug, pay, handle, fingerprint, card, cf, rg, bi,
        sin
    """)
)
# In a table about people these mean it; elsewhere they are something else (cap: a limit).
WHOLE_PERSON: Final[dict[tuple[str, ...], str]] = {
    phrase: label
    for label, text in {
        "POSTAL_CODE": "cap, cep, cp, postnummer",
        "USERNAME": "login, screenname, handle",
        "LAST_NAME": "nom",
        "PERSON_NAME": "ename, initial",
        "TAX_ID": "rfc, cif, ruc",
        "INCOME": "nomina, bonus, ctc, hourly rate, day rate, daily rate, remuneration, sueldo, sal, agi",
        "PASSWORD": "clave, pin sha",
        "LOCATION_COORDINATES": """
            latitude, longitude, lat, lng, lon, location, coordinate, coord, geom, geo point, position gps,
            gps
        """,
        "AGE": "alter, age, eta",
        "DRIVERS_LICENSE_NUMBER": "license number, licence number, license no",
    }.items()
    for phrase in phrases(text)
}
TEXT_ONLY: Final = frozenset(phrases("vat, pass, ph"))
"""Phrases of ALONE that are an amount or a yes where they are no text."""
ROWS_ONLY: Final = frozenset({("nom",)})
"""Phrases of WHOLE_PERSON that want a table whose rows are people, not one that people appear in."""
NEEDS_PERSON: Final = frozenset(
    phrases(
        """
            treatment, therapy, disease, medicine, vaccine, surgery, race, caste, tribe, faith,
            denomination, diagnostic, handicap, genetic, condition, traitement, behandlung, genere, genero,
            pronoun, compensation, dietary restriction, dnr, commercial driver, compl, complem,
            ph, reg number, pcode, bmi, orzeczenie,
            apartado, sus, msn, ddn, nick, identification, permit number,
            tobacco, alcohol, surgical,
            clave acceso, facial, via, dir, civico, colonia, rx, blood, birth, plate,
            plaque, placa, placas, chapa, targa, chassi, chassis, injury, lesion, illness, dose, dosage, dx,
            impairment, medical, political, credo, recapito, terapia, test result, finding, revenu, renta,
            instagram, discord, facebook, twitter, linkedin, linkedin url, tiktok, snapchat, nonce, cookie,
            polis, polisa, apolice, polizza, deficiencia, earning, selfie, document scan, attn, pathology,
            policy number, bairro, complemento, gate adresse, premise, accommodation medical, ingresos,
            renda, pulse, sym, tessera, habilitacao, odbiorca, titular, titulaire, inhaber, intestatario,
            registration token, glucose, door code, invite code, subscriber number, batiment, rasa, konf,
            dictado, device code, user code auth, key hash, server key, host key, visa status, via nome,
            product key, service key, service number military, dose, fone, alias name
        """
    )
)
"""Phrases of STRONG that things have as well: an experiment's treatment, a coin's denomination."""

CONNECTORS: Final = words("""
    de del dei della delle dello di da do dos das du des d of the la le les el los en et y e und and van der
    den i et
""")
"""Words between the words of a phrase that say nothing."""

# What may follow a phrase without changing what the column holds.
TAIL: Final = words(
    """
        number no nr num nbr value text raw plain cleartext encrypted enc crypted cipher ciphertext
        hash hashed
        digest sha sha256 md5 bcrypt crypt primary secondary home work personal business mobile cell private
        perso pro priv
        office main alternate alt old new current previous prev last first normalized normalised canonical
        lower upper full masked address addr string str field hex base64 b64 data line code info street
        house apt suite unit billing shipping delivery mailing contact mobil privat geschaftlich de del du
        di da do la le el en et y e of cliente client casa fijo fixe ufficio domicile residence residenza
        livraison facturation plaintext bytes salt four brut brute bruta bruto brutto lordo lorda
        netta neta nette liquida mensuel mensuelle mensual mensile annuel annua anual netto neto
        liquido net gross
        base amount betrag montant importe kwota monthly annual yearly hourly html day month year
        date key secret token hint blob binary
    """
)
# What makes the column about something else: a fact about the thing, not the thing.
VETO_TAIL: Final = words(
    """
        id uuid guid pk fk count cnt verified confirmed validated at on type kind status state enabled
        disabled valid version ver template format provider brand network issuer algorithm algo policy rule
        url uri link bounce bounced label language lang locale country carrier subject sent opened clicked
        opt optin optout consent preference notification notify alert flag size length len expires expiry
        expiration expire expired ttl index idx position order limit attempt failure quota required changed
        updated created deleted used rotated endpoint method mode category group scope source reason column
        table class prefix model level count total sum avg min max rate tax percentage percent interval
        window frequency campaign subscribed unsubscribed domain footer header body font color theme
        strength complexity schema bucket path region currency iso timezone zone lookup typ tipo art anzahl
        erlaubt bestatigt geprueft verificado verifie last4 queue server host port batch job event log
        relationship relation relacion relacao parentesco lien verhaltnis setting config permission
        component grade role present exist available usage budget
    """
)
# What makes it something else when it stands before: a page_token is not a credential.
VETO_HEAD: Final[dict[str, frozenset[str]]] = {
    "AUTH_TOKEN": words("""
        page next prev previous continuation cursor sync prompt completion input output max min total num n
        cached reasoning stop pad eos bos cancellation word sub used remaining design
    """),
    "STREET_ADDRESS": words("""
        ip mac web url email e mail wallet contract memory bus host node server network remote site email
        broker peer bind listen socket smtp imap pop ftp http proxy gateway
        relay dns vpn redis hardware bluetooth register store warehouse base
    """),
    "POSTAL_CODE": words("file archive"),
    "HEALTH": words("system server service device network job node cluster"),
    "GENDER": words("product shoe clothing grammatical"),
    "ETHNIC_GROUP": words("horse car running"),
    "PHONE_NUMBER": words("head micro ear"),
    "SECRET": words("map board gpio push safety connector chip led input output port area zip postal"),
    "BIOMETRIC": words("card cert certificate ssh key file sha content public"),
    "DEVICE_ID": words("ssh key cert certificate"),
    "ENCRYPTION_KEY": words("public"),
    "INCOME": words("min minimum max maximum range median"),
}
VETO_FIRST: Final = words("tipo type typ is has show hide allow enable require send use statut can")
"""What makes it a fact about the thing where a name begins with it: ``tipo_documento``, ``has_email``."""
# Whole phrases that would match one of the above and mean something else.
HARMLESS: Final = frozenset(
    phrases(
        """
            in reply to, gift card,
            public key, key prefix, token type, phone code, calling code, dialing code, country code, mobile
            app, mobile version, email template, mac version, mac os, handy man, sex ratio, race condition,
            race track, secret santa, last name day, card last 4, last 4, last four, card brand, card type,
            ip version, token count, email subject, birth rate, tax code id, treatment group, swift version,
            salt level, mobile friendly, is mobile, street view, state province, password policy, issue
            token count, faith based, postal service, street light, diagnostic mode, diagnostic level, sex
            appeal, address book, card layout, phone model, portable document, age group, page, age
            restriction, minimum age, min age, max age, token limit, token bucket, cookie policy, cookie
            consent, cookie banner, mail server, mail host, mail queue, mail port, phone brand, zip file,
            zip size, first published name, bonus point, third party
        """
    )
)

# The heads of compounds that German and Dutch write in one word, and English names without separators.
COMPOUND: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "telefonnummer",
            "telefoonnummer",
            "handynummer",
            "rufnummer",
            "telefon",
            "telefoon",
            "phone",
            "phonenumber",
            "phoneno",
            "mobile",
            "telefonnr",
        ),
        "PHONE_NUMBER",
    ),
    **dict.fromkeys(("adresse", "anschrift", "adres", "address", "strasse", "straat"), "STREET_ADDRESS"),
    **dict.fromkeys(
        ("email", "emailadresse", "mailadresse", "emailadres", "emailaddress", "emailaddr"), "EMAIL_ADDRESS"
    ),
    **dict.fromkeys(("passwort", "password", "kennwort", "wachtwoord", "passwd", "passwordhash"), "PASSWORD"),
    **dict.fromkeys(("vorname", "firstname", "voornaam"), "FIRST_NAME"),
    **dict.fromkeys(("nachname", "lastname", "achternaam", "familienname", "surname"), "LAST_NAME"),
    **dict.fromkeys(
        ("geburtsdatum", "geboortedatum", "birthdate", "birthday", "dateofbirth"), "DATE_OF_BIRTH"
    ),
    **dict.fromkeys(("kontonummer", "rekeningnummer", "accountnumber"), "BANK_ACCOUNT_NUMBER"),
    **dict.fromkeys(("cardnumber", "creditcard", "kartennummer"), "CREDIT_CARD_NUMBER"),
    **dict.fromkeys(("postleitzahl", "postcode", "zipcode", "postalcode"), "POSTAL_CODE"),
    **dict.fromkeys(("steuernummer", "steuerid"), "TAX_ID"),
    **dict.fromkeys(("gehalt", "salary"), "INCOME"),
    **dict.fromkeys(("ausweisnummer", "versicherungsnummer"), "NATIONAL_ID"),
    **dict.fromkeys(("passnummer", "passportnumber"), "PASSPORT"),
    **dict.fromkeys(("username", "benutzername", "gebruikersnaam"), "USERNAME"),
    **dict.fromkeys(("privatekey", "secretkey", "encryptionkey"), "ENCRYPTION_KEY"),
    **dict.fromkeys(("accesstoken", "refreshtoken", "authtoken", "sessiontoken"), "AUTH_TOKEN"),
    "apikey": "API_KEY",
    "clientsecret": "SECRET",
}
NOT_COMPOUND: Final = words("""
        microphone headphone earphone megaphone saxophone xylophone gramophone dictaphone smartphone
        personalnummer personalnr webaddress ipaddress macaddress automobile snowmobile immobile
        iphone voicemail
    """)

LABELS: Final = (*STRONG, "FREE_TEXT", "JSON_PII", "PII", "SENSITIVE")
"""Every label that :func:`~governed_db.masking.classify.classify` gives by itself."""
