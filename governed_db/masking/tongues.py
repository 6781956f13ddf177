"""What columns are called in other languages than English, and in the short forms of old schemas.

Read beside :data:`governed_db.masking.phrases.STRONG`, which has the same shape: by label, phrases separated
by commas. Connectors ("de", "del", "van") are left out of names and phrases alike, and "number" stands for
no, nr, num, numero, nummer, numer and their kin. Umlauts are folded to the plain letter (NFKD), so the
spelling with an e (ae, oe, ue) has a phrase of its own. A line is one language: German, French, Spanish,
Portuguese, Italian, Dutch, Polish, then Scandinavian and others, where they have something to say.
"""

from __future__ import annotations

from typing import Final

WORLD: Final[dict[str, str]] = {
    "EMAIL_ADDRESS": """

        email adresse, epost, epost adresse, emailadr, mailadr, adres email, adres mail, adresse courriel,
        adresse electronique, adresse messagerie, correo institucional, correo personal, dir correo, mail
        addr, email addr, eml address, eml addr, eml, e post, sahkoposti, eposta, posta electronica,
        adrese email, casella posta, adres poczty, poczta elektroniczna
    """,
    "PHONE_NUMBER": """
        telefonnummer, telefonnr, telefax, telefaxnummer, fernruf, durchwahl, handynr, mobilnr,
        mobilfunknummer, festnetz,
        festnetznummer, faxnummer, privatnummer, telefon privat,
        telephone portable, telephone fixe, tel portable, tel fixe, ligne fixe, telecopieur,
        telefono movil, telefono fijo, tlf, tfno, telef, num celular, tel casa, tel movil,
        telefone fixo, telefone celular, tel celular, tel residencial, fone, ddd telefone,
        telefono fisso, tel cellulare, tel fisso, recapito telefonico, recapito,
        telefoonnr, telnr, mobielnr, mobiel nummer, gsmnummer, gsm nummer, vaste lijn,
        tel kom, telefon komorkowy, tel stacjonarny, nr tel, kom number,
        tlf nr, telefonnummer, mobilnummer, matkapuhelin, puhelin, puhelinnumero, cep telefonu, telefone,
        phone num, ph number, mob number, mob ph, ph, ph number day, mobile num, tele number,
        contact phone, day phone, evening
        phone, calling party, called party, a number party, msisdn a, msisdn b, caller id, dialed digit,
        telnr, telf 1, telf 2, telfx
    """,
    "FIRST_NAME": """
        vornamen, rufname, zweitname,
        prenom usuel, prenoms, deuxieme prenom, primer nombre, segundo nombre,
        primeiro nome, nome proprio, prenome,
        nome battesimo, nome proprio,
        voornaam, voornamen, voorletter, voorletters, roepnaam, initialen,
        imie, imiona, drugie imie, pierwsze imie,
        fornavn, fornamn, etunimi, jmeno krestni, krstne meno, given nm, f name, given, forenames
    """,
    "LAST_NAME": """
        zuname, madchenname, maedchenname, nachnamen, geburtsname,
        nom patronymique, nom marital, nom jeune fille, nom epouse, nom fille,
        primer apellido, segundo apellido, apellido paterno, apellido materno, ape paterno, ape
        materno, ape pat, ape mat, apellido 1, apellido 2,
        ultimo nome, nome familia, nome solteira, apelidos,
        cognome nubile, cognome nascita,
        geslachtsnaam, meisjesnaam, voorvoegsel, voorvoegsels, familienaam,
        nazwisko rodowe, nazwisko panienskie,
        etternavn, efternamn, efternavn, sukunimi, soyad, soyadi, prijmeni, maiden, mother maiden,
        mother maiden name, mothers maiden, l name, last nm, family nm, lst name
    """,
    "PERSON_NAME": """
        ansprechpartner, kontaktperson, inhaber, bevollmachtigter, bevollmaechtigter, versicherungsnehmer,
        kontoinhaber, karteninhaber, auftraggeber, sachbearbeiter, hausarzt, notfallkontakt,
        titulaire, titulaire compte, titulaire carte, nom prenom, nom naissance pere, nom complet,
        personne contact, personne prevenir, representant legal, nom mere, nom pere, signataire,
        nombre apellido, nombres apellidos, nombre titular, titular, titular cuenta, titular tarjeta, persona
        contacto, nombre contacto, nombre padre, nombre madre, representante legal, tutor legal,
        nome titular, nome mae, nome pai, nome social, nome completo, responsavel legal, pessoa contato,
        nome conjuge,
        nominativo, intestatario, nome cognome, cognome nome, persona riferimento, medico base,
        rekeninghouder, kaarthouder, contactpersoon, naam contactpersoon, huisarts, tenaamstelling,
        imie nazwisko, osoba kontaktowa, nazwisko imie, odbiorca, posiadacz, imie ojca, imie matki,
        fullt navn, alias name, known as, aka, alternate name, display name person, nm holder, emergency
        contact, name holder, embossed name, name card, person contacted, attn, attention
        to, legal representative, father name, mother name, spouse name, guardian name, contact person,
        registered to, licensed to, issued to,
        signed by, invnam
    """,
    "STREET_ADDRESS": """
        strassenname, hausnr, apartado, apdo, apartado postal, apdo correos, hausnummer,
        adresszusatz, anschrift, postanschrift, wohnort strasse,
        meldeadresse, zustelladresse, postfach, str number, str hausnr,
        adr, adr ligne, num voie, nom voie, type voie, complement adresse, adresse postale, lieu dit, boite
        postale, batiment, adresse ligne,
        domicilio fiscal, domicilio particular, dir, num exterior, num interior, piso puerta,
        calle numero, direccion postal, direccion particular,
        complemento, numero casa, compl, complem, endereco residencial, morada,
        via, numero civico, n civico, civico, residenza, indirizzo residenza, domicilio,
        huisnr, huisnummer, huisnummer toevoeging, toevoeging, postadres, woonadres, postbus, straat,
        ulica, nr domu, number domu, number mieszkania, adres zamieszkania, adres dostawy, adres
        korespondencyjny, mieszkanie,
        gate adresse, gateadresse, gatuadress, adress, katuosoite, osoite, adres satiri, po box, pobox,
        address ln, addr ln, adr line, mailing addr, res addr, home addr, house number, building number,
        apt number, flat number, premise, suburb address, add 1, add 2, addressline, street line,
        street 1, street 2,
        stras
    """,
    "POSTAL_CODE": """
        postleitzahl, plz ort, code post, cod postal, cp postal, cod cap, codigo cep, codigo postal, kod
        poczt, kod pocztowy, postnr, postnummer, postinumero, posta kodu, pincode, pin code postal, eircode,
        zip 5, zip 4, zip plus 4, zip cd, postal cd, post cd, pcode,
        pstlz
    """,
    "DATE_OF_BIRTH": """
        geb, geb datum, ddn, naissance, nascimento, nacimiento, nascita, geburtsdat, geburts datum,
        gebdat, geburt, geboren am,
        dt naissance, dat naiss, date naiss, ne le, annee naissance, naiss date,
        f nacimiento, fec nacimiento, fecha nac, fech nac, fnac, ano nacimiento, nacimiento fecha,
        dt nascimento, dt nasc, data nasc, nascimento data, ano nascimento,
        data nasc, dt nascita, anno nascita, nato il,
        geb datum, geboortedat, geboortejaar, geboren,
        data ur, data urodz, data urodzenia, rok urodzenia,
        fodselsdato, fodselsdag, fodelsedatum, syntymaaika, dogum tarihi, datum narozeni,
        birth dt, brth dt, bday, b day, d o b, dtbirth, birthdt, date birth, birth,
        gbdat, gbjhr,
        birth datetime, birth timestamp, birth dttm, birth time, brthdtc, brthdat
    """,
    "DATE_OF_DEATH": """
        date of death, death date, deceased date, deceased on, deceased at, date deceased, died on, dod,
        date died, fecha muerte, todestag, date mort, sterbedatum, todesdatum, date deces, deces,
        fecha defuncion, fecha fallecimiento,
        defuncion, data obito, dt obito, obito, falecimento, data decesso, decesso, overlijdensdatum,
        overleden, data zgonu, zgon,
        dthdtc, dthdat, death datetime, death timestamp
    """,
    "PLACE_OF_BIRTH": """
        geburtsland, geb ort, gebort, commune naissance, dept naissance, departement naissance, pays
        naissance, pais nacimiento, municipio nacimiento, comune nasc, comuna nac, luogo nasc, lugar
        nac, local nasc, lieu naiss, miejsce ur, geb plaats, estado nacimiento, entidad nacimiento,
        pais
        nascimento, municipio nascimento, cidade nascimento, provincia nascita, stato nascita, paese nascita,
        geboorteland, geboortestad, miejsce urodzenia, birth country, birth state, country of birth, state
        of birth, town of birth, fodested, fodelseort,
        gbort, gblnd
    """,
    "CREDIT_CARD_NUMBER": """
        kartennr, kreditkartennr, kk number, num carte, num carte bancaire, number carte, number tarjeta,
        num tarjeta, number cartao, numero cartao credito, num carta, creditcardnr, kaartnr, number karty,
        karta kredytowa, card pan, pan enc, pan encrypted, pan token, pan hash, cc pan, cc tok, cc
        token, card tok, ccn, crd number, card
        nbr, track 1, track 2, track data, magstripe, masked pan, payment card number
    """,
    "CREDIT_CARD_CVV": """
        cvv 2, cvc 2, cid card, card cid, kartenprufnummer, pruefziffer, code verification carte, codigo
        seguridad, codigo seguranca, codice sicurezza, kod cvv, cryptogramme visuel, card code
    """,
    "CREDIT_CARD_EXPIRATION_DATE": """
        exp mm, exp yy, exp yyyy, exp mo, exp yr, expiry mm, expiry yy, card exp date, card expires, card
        expiry date, cc expiration, cc exp date, cc exp month, cc exp year, expiration carte, vencimiento
        tarjeta, fecha vencimiento tarjeta, validade cartao, scadenza carta, vervaldatum kaart, data waznosci
        karty, gultig bis karte,
        exp mmyy, expiry mmyy, mmyy, exp mm yy, expiry mm yy, valid thru
    """,
    "IBAN_CODE": "iban number, iban code, code iban, international bank account",
    "SWIFT_CODE": "swift cd, bic swift, code swift, code bic, codigo swift, codice bic, swift address",
    "BANK_ACCOUNT_NUMBER": """
        ktonr, kto, kontonr, kto number, bankverb, bankkontonummer,
        num compte, number compte, rib cle, coordonnees bancaires, compte bancaire,
        num cuenta, number cuenta, cta bancaria, cta ahorro, cta corriente, cuenta ahorro, number
        cta, cuenta clabe, cuenta corriente, ccc cuenta, cbu,
        number conta, conta poupanca, chave pix, agencia conta,
        coord bancarie, coordinate bancarie, number conto, conto bancario, cc bancario,
        rekeningnr, bankrekeningnr, rekening, bankrekeningnummer, bankreknr,
        number konta, number rachunku, rachunek bankowy, konto bankowe, rachunek,
        bankkonto, kontonummer, kontonumber, clabe interbancaria, bank acct, bank ac, bank ac
        number, bank acc,
        account nbr, ac number, acnt number, acct nbr, deposit account, checking account, savings account,
        dda number, provident fund account, account hash, beneficiary account, debtor account, creditor
        account, payout account, refund account, payee account, iban account, sepa mandate, mandate reference,
        bankn
    """,
    "BANK_ROUTING_NUMBER": """
        bankleitzahl, code banque, code guichet, entidad bancaria sucursal, codice abi, codice cab, abi cab,
        routing nbr, routing, aba, sort cd, bank code number, rtn number, transit routing, ach routing, ifsc
    """,
    "US_SOCIAL_SECURITY_NUMBER": """
        ssn last 4, last 4 ssn, ssn 4, social sec, soc sec number, social sec number, socsec, ss number, ssno,
        ssnum, last four ssn, social last 4
    """,
    "NATIONAL_ID": """
        ausweisnr, personalausweisnr, sv number, sv nummer, sozvers number, rentenvers number, rvnr, svnummer,
        versicherungsnr sozial, ahv number, ahvn 13, identitatsnummer,
        num secu, number secu, securite sociale number, num ss, number nir, cin, carte identite, number
        identite, piece identite, numero identite, carte sejour, titre sejour,
        num documento, number documento, number doc, doc identificacion number, doc identidad, doc
        number identidad, nuss, nss, naf seguridad,
        cedula ciudadania, cedula identidad, clave unica, doc identificacion, tipo numero documento, dui,
        identificacion, ine, ife, clave elector, curp,
        number identificacao, documento identificacao, titulo eleitor, pis, pis pasep, pasep, nis, carteira
        identidade, bilhete identidade, cartao cidadao, num beneficiario, niss, cpf cnpj, cpf number, doc
        number,
        cod fiscale, cod fisc, codfisc, documento identita, doc identita, number documento identita, cf
        number,
        burgerservice number, sofinummer, sofi number, bsn number, identiteitsbewijs, identiteitskaart,
        rijksregister, rijksregister number, id bewijs, insz,
        number dowodu, dowod osobisty, number pesel, seria dowodu, dowod, dowodu osobistego,
        cpr, cpr nummer, personnr, fodselsnr, personnummer, hetu, tckn, tc kimlik, kimlik number, rodne
        cislo, cnp, egn, jmbg, oib, amka, emso, ppsn, pps number, sin number, nhi number, uidai, uan,
        identification id, identification, permit number, national identifier, natl id, nat id, ntnl
        id, national id number, govt id number, government id
        number, government issued id, id document number, id doc number, identity doc, ident number, alien
        number, alien registration, a number alien, green card, uscis, fbi number, state id number, inmate
        number, booking number inmate, military id, dod id, service number military, provider npi, npi
        number, npi, prescriber dea, dea registration, dea, upin, bar number, license number professional,
        medical license, professional license,
        known traveller number
    """,
    "TAX_ID": """
        steuernr, steuer number, steuer idnr, steuer identnr, steueridnr, idnr, ust idnr, ustidnr, ust id nr,
        ustid number, umsatzsteuernr, ustnr, uid number,
        tva intracom, tva intracommunautaire, num tva, number tva, siret, siren, spi number,
        rfc, cif, nif, nif cif, cif nif, cuit cuil, id fiscal, identificacion fiscal, identificacion
        tributaria,
        rut, ruc number,
        contribuinte, number contribuinte, nif contribuinte, numero contribuinte, inscricao estadual,
        p iva, part iva, partita iva, piva number, cod iva,
        btw number, btwnr, btw id, btw nummer, fiscaal number, fiscaal nummer, rsin,
        nip, number nip, regon,
        cvr, orgnr, organisasjonsnummer, organisationsnummer, vkn, vergi number, tax number, tax nbr, tax id
        number, tax ident, tax ref, tax reference, utr, gstin, gst number, pan number, tan number, abn, tfn,
        tax file number, fein, federal id, vat reg, vat registration, vat code, vat num, taxvat, fiscal
        code, fiscal number, tin number, w 9,
        stcd 1, stcd 2, stceg
    """,
    "PASSPORT": """
        reisepassnr, passnr, pass number, num passeport, number passeport, num pasaporte, number pasaporte,
        pas number, number passaporte, number passaporto, paspoortnr, number paspoort, paszport, number
        paszportu, pasnummer, pasnr, ppt number, psp number, pspt number, travel document, travel
        doc, travel document number,
        visa number, visa number travel, mrz
    """,
    "DRIVERS_LICENSE_NUMBER": """
        fuhrerscheinnr, fuehrerscheinnr, fs number, num permis, number permis, permis number, licencia
        conducir, licencia manejo, number licencia, permiso conducir, carnet conducir, number cnh, carta
        conducao, habilitacao, number patente, patente number, rijbewijsnr, rijbewijs number, prawo jazdy,
        number prawa jazdy, driver lic, cdl, cdl number, commercial driver, drv license, drvr
        license, dl state number, dlno, dln, driver license
        number, driving lic, korkortsnummer, forerkort, license number driver
    """,
    "LICENSE_PLATE": """
        kfz kennzeichen, kfz, amtl kennzeichen, nummernschild, plaque, plaque number, num immat, immat,
        immatriculation, matricula coche, matricula vehiculo, placa, placas, placa vehiculo, number placa,
        chapa, matricula carro, targa auto, number targa, kentekennr, nummerplaat, number rejestracyjny,
        tablica rejestracyjna, rejestracja pojazdu, plate, plate num, license plt, lic plate, licence plate
        number, tag number vehicle, reg plate, vehicle reg, veh reg, reg number, car reg, vrn, vrm,
        nummerplade
    """,
    "VEHICLE_IDENTIFICATION_NUMBER": """
        fin fahrzeug, fahrzeugident, fahrgestell, fahrgestellnr, fahrzeugidentnummer, num chassis, number
        chassis, chassi, chassis, bastidor, number bastidor, renavam, telaio, number telaio, chassisnummer,
        chassisnr, number vin, number nadwozia, vehicle ident, vin code, vehicle vin
    """,
    "IP_ADDRESS": """
        ip adresse, adres ip, ip adres, adr ip, ip addr, ipaddr, ip rejestracji, ip cliente, ip klienta, ip
        connexion, last ip, login ip, lastip, ip origen, ip origem, ip orig, remote ip, peer ip, user ip, ip
        hash, src ip, dst ip, forwarded for
    """,
    "IMEI_HARDWARE_ID": "imeisv, imei number, number imei",
    "SIM_ID": "sim card number, sim number, sim serial, simkarte number, iccid number, eid esim",
    "DEVICE_ID": """
        device fingerprint, device fp, browser fp, browser fingerprint, device id hash, device uid,
        device udid, udid, android id,
        device serial, device serial number, implant serial, implant serial number, udi, hardware id, hwid,
        machine fingerprint, fcm token, apns token, visitor fingerprint, client
        fingerprint, device identifier, gerateseriennummer, installation id
    """,
    "MEDICAL_RECORD_NUMBER": """
        patientennr, patienten number, patnr, krankenaktennummer, fallnummer patient, num patient, number
        dossier, num dossier medical, ipp patient, historia number, number historia, nhc, expediente clinico,
        number prontuario, prontuario, sus, cns, cartao sus, number cartella, patientnr, patientnummer, number
        pacjenta, health record number, med rec number, medical rec, emr number, emr id, ehr id, hospital
        number, patient identifier, pat number, mrn number, mrn, nhs, chi number, visit number patient
    """,
    "INSURANCE_NUMBER": """
        versichertennr, versicherungsnr, versnr, krankenversichertennummer, kvnr, policennummer, polizzennr,
        num assure, number assure, number mutuelle, num police, number adherent, num adherent,
        number poliza, num poliza, number afiliacion, number afiliado, afiliado, number asegurado,
        number apolice, apolice, carteirinha, number carteirinha, carteira convenio, number utente,
        number polizza, polizza, tessera, tessera sanitaria,
        polisnr, verzekerdennummer, verzekerdenr, polis,
        number polisy, polisa, number ubezpieczenia,
        insurance member, member id insurance, insurance group, insurance group number, insurance member id,
        insurance policy, policy holder id, plan member, subscriber number, beneficiary
        number, medicare number, medicare beneficiary, medicaid number, mbi, hic number, health
        plan, health plan number, ins
        number, ins policy, ins member, ins id, ehic, group number insurance, health card, health card
        number, payer member
    """,
    "HEALTH": """
        diagnosetext, diagnoseschlussel, befund, blutgr, blutgruppe, schwerbehindert, schwerbehinderung, grad
        behinderung, gdb, allergien, medikation, arznei, anamnese, krankschreibung, unvertraglichkeit,
        impfung, erkrankung, vorerkrankungen, pflegegrad,
        antecedents, antecedents medicaux, maladie, blessure, pathologie, ordonnance, vaccin, taux
        invalidite, invalidite, groupe sanguin, gr sanguin, posologie,
        alergias, tipo sangre, grupo sang, gpo sanguineo, antecedentes, padecimiento, sintomas, vacuna,
        enfermedades, lesion, minusvalia, embarazo, receta medica,
        alergias, deficiencia, tipo sangue, doenca, doencas, gravidez, vacina, remedio, receita medica,
        comorbidade, cid 10, laudo medico, laudo,
        allergie, patologie, gruppo sang, gruppo sangue, tipo sang, invalidita, vaccino, farmaco,
        terapia, referto, ricetta medica,
        gravidanza,
        medicatie, medicijn, aandoening, zwangerschap, bloedgr, handicap, ziekte, beperking,
        grupa krwi, choroba, choroby, alergie, leki, recepta, rozpoznanie, orzeczenie,
        niepelnosprawnosc, stopien
        niepelnosprawnosci, ciaza, szczepienie,
        diagnose, sykdom, sjukdom, dx, dx code, snomed, snomed code, loinc result, blood, blood grp,
        blood type cd, hba 1 c, viral load, cd 4, medical, medical alert, medical info, medical
        detail, clinical note, clinical finding, finding, impairment, injury, illness, sickness, sick
        reason, sick note, sick leave reason, handicapped, disabled status, special assistance,
        dietary restriction, dnr, special
        needs, accommodation medical, allergen, allergies, intolerance, immunisation, vaccine,
        covid, covid status, test result, lab value, symptoms, complaint chief, chief complaint, visit
        reason, reason for visit, cause of death, weight kg patient, menstrual, lmp, gravida, drug use,
        alcohol use, tobacco use, tobacco, alcohol, surgical, surgical history, substance use,
        insulin, medicines, sig code, med name, health detail, health info, health issue,
        blood pressure, systolic, diastolic, systolic bp, diastolic bp, bp systolic, bp diastolic, heart rate,
        resting heart rate, pulse rate, respiratory rate, respiration rate, body temperature, body temp,
        oxygen saturation, spo 2, blood sugar, blood glucose, glucose level, cholesterol, hemoglobin,
        haemoglobin, creatinine, accessibility need, accessibility requirement, accommodation need,
        presion arterial, tension arterielle, pression arterielle, pressao arterial, pressione arteriosa,
        blutdruck, herzfrequenz, bloeddruk, frecuencia cardiaca, frequence cardiaque, frequenza cardiaca,
        registered disabled, disabled person, vulnerable customer, vulnerable person, vulnerable adult
    """,
    "GENDER": """
        geschl, anrede geschlecht, sex cd, sexe code, civ sexe, cod sexo, sexo code, sesso code, geschl
        code, gesl, plec, kjonn, sukupuoli, cinsiyet, pohlavi, gender cd, gender code, biological
        sex, sex at birth, legal sex, preferred pronoun,
        gesch
    """,
    "ETHNIC_GROUP": """
        ethnie, abstammung, origine ethnique, origen etnico, grupo etnico, pueblo indigena, raca cor, cor
        raca, origine etnica, etniciteit, herkomst etnisch, pochodzenie etniczne, rasa, race cd, race code,
        ethnicity cd, ethnic origin, ethnic background, racial, hispanic, tribal affiliation
    """,
    "RELIGION": """
        konf, glaube, religionszugehorigkeit, kirchensteuer, confession religieuse, culte, religion creencia,
        credo, crenca, religione fede, geloofsovertuiging, godsdienst, kerkgenootschap, wyznanie, religia,
        trossamfund, religious belief, religious affiliation, religious preference,
        konfe, kitxt
    """,
    "SEXUAL_ORIENTATION": """
        sexuelle orientierung, orientacion sexual, orientacao sexual, orientamento sessuale, seksuele
        geaardheid, orientacja seksualna, sex orientation, lgbt, lgbtq
    """,
    "POLITICAL_OPINION": """
        parteizugehorigkeit, parteimitglied, opinion politique, affiliation politique, filiacion politica,
        opinion politica, filiacao partidaria, appartenenza politica, politieke voorkeur, poglady polityczne,
        political, party registered,
        voter party, party preference, party voted, vote choice
    """,
    "TRADE_UNION": """
        gewerkschaftsmitglied, appartenance syndicale, afiliacion sindical, filiacao sindical, iscrizione
        sindacato, sindacato, vakbond, vakbondslid, zwiazek zawodowy, union membership number
    """,
    "MARITAL_STATUS": """
        familienst, fam stand, zivilstand, sit fam, situation fam, situation matrimoniale, edo civil, est
        civil, est civ, stato civ, burg staat, burgerlijke stand, stan cyw, stan cywilny, sivilstand,
        civilstand, medeni durum, siviilisaaty, marital stat, marital cd, marriage status,
        partnership status, verheiratet,
        famst, famdt
    """,
    "NATIONALITY": """
        staatsang, staatsangeh, staatsburgerschaft, nat code nationality, nationalite code,
        nacionalidad code, nat code, natl code, natlty, pais nacionalidad, pais nacionalidade,
        nacion, naz cittadinanza, nationaliteit code,
        obywatelstwo, narodowosc, statsborgerskap, medborgarskap, kansalaisuus, uyruk, citizen of,
        citizenship status, country of citizenship, citizenship country, visa status, residency status,
        immigration,
        natio, nati 2, nati 3
    """,
    "INCOME": """
        bruttolohn, nettolohn, jahresgehalt, monatsgehalt, stundenlohn, stundensatz lohn,
        grundgehalt, entgelt,
        bezuge, gehaltswunsch, gehaltsvorstellung, jahreseinkommen, monatseinkommen, pramie gehalt,
        salaire base, salaire mensuel, salaire annuel, revenu, revenu mensuel, revenu fiscal, taux horaire
        salaire, remuneration, pretention salariale, quotient familial,
        sueldo base, sueldo mensual, salario base, salario diario, ingreso mensual, ingresos, ingreso
        familiar, percepcion, renta anual,
        salario base, salario bruto, salario liquido, vencimento base, renda, renda familiar, renda mensal,
        rendimento, ordenado, remuneracao,
        stipendio lordo, stipendio netto, reddito annuo, reddito lordo, ral, isee, paga oraria,
        brutoloon, nettoloon, maandsalaris, jaarsalaris, uurloon, bruto salaris, loon, jaarinkomen,
        wynagrodzenie, wynagrodzenie brutto, pensja, zarobki, dochod, placa zasadnicza, stawka godzinowa,
        lonn, arslonn, palkka, maas, salary amt, annual salary, base salary, hourly wage, hourly pay,
        annual income, annl income, monthly income, household income, gross salary, net salary, pay
        grade amount, salary expectation, expected salary, current salary, desired salary, target bonus, stock
        grant, severance, pension amount, pension benefit, alimony, agi, disposable income, net worth, pay
        amount employee, earning
    """,
    "CREDIT_SCORE": """
        schufa score, kreditwurdigkeit, bonitatsindex, cote credit, puntaje credito, score credito,
        score buro, buro credito, puntaje
        crediticio, pontuacao credito, merito creditizio, kredietscore, scoring bik, credit scr,
        fico score, risk score credit, vantage score
    """,
    "BIOMETRIC": """
        fingerabdruck, empreinte digitale, empreinte biometrique, huella digital, huella dactilar, huella,
        impressao digital, biometria, impronta digitale, vingerafdruk, odcisk palca, fingerprint data,
        fingerprint hash, face template, face vector, facial template, iris code, palm print,
        voice sample, voice template, dna, dna profile, signature image, retina, gait,
        signature image, sign image, sign img, signature img, signature scan, signature blob
    """,
    "PHOTO": """
        passfoto, lichtbild, photo identite, foto perfil, foto rosto, fototessera, pasfoto, zdjecie, mugshot,
        face photo, face image, profile photo, profile picture, portrait photo, headshot, selfie, id photo,
        id scan, passport scan, passport image, document scan, id card image, full face
    """,
    "LOCATION_COORDINATES": """
        geo lat, geo lng, geo lon, geo latitude, geo longitude, gps lat, gps lng, gps lon, gps latitude, gps
        longitude, gps coordinate, gps position, gps location, lat lng, lat lon, lat long, latlng, latlon,
        standort gps, position gps, posicion gps, ubicacion gps, geolocalizacion, geolocalisation,
        geolocalizacao, geolocalizzazione, whereabouts, caller lat, caller lon, user lat, user lng, user lon,
        driver lat, driver lng, rider lat, rider lng, home geo, geo hash, geohash, geo point, last location,
        last position, current position, home position, live location, user location
    """,
    "USERNAME": """
        benutzerkennung, nick, msn, anmeldename, nutzerkennung, kennung benutzer, identifiant
        connexion, identifiant
        utilisateur, nom connexion, nombre usuario, nom usuario, cuenta usuario, login usuario, nome login,
        usuario login, login utente, inlognaam, gebruiker naam, nazwa uzytkownika, uzytkownik login,
        loginname,
        brukernavn, anvandarnamn, kullanici adi, uname, user login, login user, userlogin, user nm,
        usr nm, usr
        name, logon name, logon, logon id, account login, sam account name, samaccountname, upn, user
        principal name, github username, twitter username, instagram, instagram handle, twitter, discord,
        discord id, telegram id, telegram username, slack handle, linkedin, linkedin profile,
        facebook id, facebook, wechat, line id social, xbox live, steam id, social handle, display
        handle, screen handle, user nicename,
        nicename, icq, jabber, yahoo messenger, mastodon, skype id, skype name, viber, tiktok, snapchat
    """,
    "PASSWORD": """
        passwort hash, passworthash, kennwort hash, kennwort, pw, pw hash, pwhash, ww hash, ww, pswd,
        psswd, passw, passwrd, hashed password, encrypted password, password digest, password hash, password
        salt, mot passe, mdp hash, contrasenia, contrasenya, clave hash, clave usuario, clave
        secreta, clave web, senha
        hash, chave acesso, parola chiave, haslo hash, wachtwoord hash, losenord, passord, adgangskode, sifre,
        salasana, heslo hash, user pass, userpass, user pw, user pwd, login pass, db pass, db password, ftp
        pass, smtp pass, ldap bind password, bind password, admin pass, root pass, pass crypt, pass
        md 5, crypt
        pass, passphrase hash, wpa key, wifi key, wifi password, psk, pre shared key, pass word
    """,
    "AUTH_TOKEN": """
        access token, refresh token, id token, auth key, authentication key, authorization code,
        oauth token, oauth secret, remember token, reset token, reset key, persist code, remember
        code, log key, logkey, login code, reset code, reset hash, password
        reset, activation key, activation code, activation token, confirm token, confirmation token,
        invite token, invitation token, invite code auth, unsubscribe token,
        unlock token, session token, sessid, session hash, auth session, auth hash, auth string, autologin,
        auto login, persistent token, login token, login key, login hash, sso token, saml assertion, nonce,
        bearer, jti, rp token, cookie, auth cookie, csrf token, xsrf, user activation key, verify key, verify
        code, verification key, verification token, verify token, validation token, validation key, ticket
        granting, kerberos, code challenge, code verifier, device code, user code auth, einladungscode,
        aktivierungscode, jeton, jeton acces, cle activation, clave activacion, codigo activacion, codigo
        verificacion, sitzungsschlussel, personal access token, registration token, api session,
        session ticket, auth ticket, login ticket, sso ticket
    """,
    "API_KEY": """
        api schlussel, cle api, clave api, chave api, chiave api, api sleutel, klucz api, key hash,
        token hash,
        api hash, consumer key, consumer secret,
        app secret, application secret, aws access key, aws access key id, license secret, product
        key, service
        key, subscription key, sendgrid key, stripe key, maps key, map key api, rss key,
        feed key, api pass, api password, publishable key
    """,
    "ENCRYPTION_KEY": """
        schlussel geheim, cle privee, cle secrete, cle chiffrement, clave privada, clave cifrado, chave
        privada, chave secreta, chiave privata, chiave segreta, prive sleutel, klucz prywatny, priv key,
        privkey, private pem, pem, private key pem, pem key, enc key, crypto key, cipher key, dek,
        kek, wrapped
        key, key blob, key bytes, key ciphertext, wrapping key, root key, session encryption key, jwt key,
        jwt signing key, jwk, jwks private, tls key, ssl key, server key, client key, host key, deploy key,
        gpg key, gpg private, vapid private, vapid private key, master secret, secret pem,
        shared key, pfx, p 12, keytab, wireguard key, vpn key
    """,
    "SECRET": """
        geheimnis, geheimfrage, sicherheitsfrage, sicherheitsantwort, geheim antwort, zugangscode, tan liste,
        question secrete, reponse secrete, code secret, code pin, code acces, pregunta secreta, respuesta
        secreta, codigo secreto, codigo acceso, pergunta secreta, resposta secreta, codigo acesso, domanda
        segreta, risposta segreta, codice segreto, codice accesso, geheime vraag, geheim antwoord,
        toegangscode, pytanie pomocnicze, odpowiedz, kod dostepu, kod pin, secret question, secret phrase,
        memorable word, memorable answer, otp secret, otp seed, webauthn, passkey, fido, otp key,
        otp code, mfa secret, mfa key, mfa
        seed, mfa code, totp key, totp secret, hotp secret, authenticator secret, authenticator key, google
        authenticator, two factor secret, tfa, tfa secret, twofa secret, recovery key, recovery
        codes, recovery
        phrase, recovery answer, backup codes, scratch code, security code hash, security pin, door code, gate
        code, alarm code, entry code, lock code, unlock code, safe code, keypad code, access pin, pin block,
        pin enc, pin hash, pin encrypted, pin offset, pin, card pin, atm pin, voicemail pin, user
        pin, login pin,
        pin salt, puk 1, puk 2, password hint, reset question, connection str, conn
        string, connection uri, database uri, db uri, credential json, service account json, sas token, config
        secret, sealed secret, encrypted secret, challenge answer, hint answer, secret answer hash,
        locker combination, lock combination, safe combination, locker code, lockbox code, lock box code,
        keybox code, key box code
    """,
}
"""By label, in addition to those of :data:`governed_db.masking.phrases.STRONG`."""
