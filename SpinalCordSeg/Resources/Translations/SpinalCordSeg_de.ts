<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de" sourcelanguage="en-US">
  <context>
    <name>SpinalCordSeg</name>
    <message>
      <source>Work list: folder of results…</source>
      <translation>Arbeitsliste: Ergebnisordner…</translation>
    </message>
    <message>
      <source>Take case after case out of a folder with one result folder for each case, as segment writes it.</source>
      <translation>Fall für Fall aus einem Ordner bearbeiten, der je Fall einen Ergebnisordner enthält, wie ihn segment schreibt.</translation>
    </message>
    <message>
      <source>Work list</source>
      <translation>Arbeitsliste</translation>
    </message>
    <message>
      <source>Click a row to open that case.</source>
      <translation>Zeile anklicken, um den Fall zu öffnen.</translation>
    </message>
    <message>
      <source>◀ Previous case</source>
      <translation>◀ Voriger Fall</translation>
    </message>
    <message>
      <source>Save this case and open the one before it in the list.</source>
      <translation>Diesen Fall speichern und den davor öffnen.</translation>
    </message>
    <message>
      <source>Next case ▶</source>
      <translation>Nächster ▶</translation>
    </message>
    <message>
      <source>Save this case and open the next one that is neither accepted nor rejected.</source>
      <translation>Diesen Fall speichern und den nächsten öffnen, der weder freigegeben noch verworfen ist.</translation>
    </message>
    <message>
      <source>Folder of images…</source>
      <translation>Bilderordner…</translation>
    </message>
    <message>
      <source>Folder with the images of these cases, whatever their names and formats.</source>
      <translation>Ordner mit den Bildern dieser Fälle, gleich welchen Namens und Formats.</translation>
    </message>
    <message>
      <source>Store this case</source>
      <translation>Fall speichern</translation>
    </message>
    <message>
      <source>Save mask, measures and decision in the case’s folder. Happens automatically when you open another case.</source>
      <translation>Maske, Messwerte und Entscheidung im Ordner des Falls speichern. Geschieht von selbst, wenn ein anderer Fall geöffnet wird.</translation>
    </message>
    <message>
      <source>Segment</source>
      <translation>Segmentieren</translation>
    </message>
    <message>
      <source>Volume:</source>
      <translation>Volumen:</translation>
    </message>
    <message>
      <source>T1-weighted MR volume, in any orientation.</source>
      <translation>T1-gewichtetes MR-Volumen, beliebige Ausrichtung.</translation>
    </message>
    <message>
      <source>Model and device</source>
      <translation>Modell und Gerät</translation>
    </message>
    <message>
      <source>Model:</source>
      <translation>Modell:</translation>
    </message>
    <message>
      <source>The network that finds the cord. Yours are in the list too.</source>
      <translation>Das Netz, welches das Rückenmark findet. Eigene stehen auch in der Liste.</translation>
    </message>
    <message>
      <source>…</source>
      <translation>…</translation>
    </message>
    <message>
      <source>Add a model from a file: it is copied into the folder of your own models.</source>
      <translation>Modell aus einer Datei hinzufügen: Es wird in den Ordner der eigenen Modelle kopiert.</translation>
    </message>
    <message>
      <source>Device:</source>
      <translation>Gerät:</translation>
    </message>
    <message>
      <source>Automatic uses the graphics card if there is one that works, otherwise the processor.</source>
      <translation>Automatisch: die Grafikkarte, falls eine funktioniert, sonst der Prozessor.</translation>
    </message>
    <message>
      <source>Replace my last result</source>
      <translation>Letztes Ergebnis ersetzen</translation>
    </message>
    <message>
      <source>Remove the last result of this volume when there is a new one. A mask that somebody corrected or reviewed always stays.</source>
      <translation>Das letzte Ergebnis dieses Volumens entfernen, sobald es ein neues gibt. Eine korrigierte oder geprüfte Maske bleibt immer.</translation>
    </message>
    <message>
      <source>Packages</source>
      <translation>Pakete</translation>
    </message>
    <message>
      <source>Versions of what is installed beside Slicer; install again, or from a folder of wheels where this computer has no way to the internet.</source>
      <translation>Versionen dessen, was neben Slicer installiert ist; neu installieren, oder aus einem Ordner mit Wheels, wenn dieser Rechner keinen Internetzugang hat.</translation>
    </message>
    <message>
      <source>Apply</source>
      <translation>Anwenden</translation>
    </message>
    <message>
      <source>Copy report</source>
      <translation>Bericht kopieren</translation>
    </message>
    <message>
      <source>Copy what happened, to ask for help. It contains no patient data.</source>
      <translation>Kopieren, was geschehen ist, um Hilfe zu bekommen. Enthält keine Patientendaten.</translation>
    </message>
    <message>
      <source>Mask:</source>
      <translation>Maske:</translation>
    </message>
    <message>
      <source>The current mask: all sections work on it. Any segmentation can be measured.</source>
      <translation>Die aktuelle Maske: Alle Abschnitte arbeiten mit ihr. Jede Segmentierung kann gemessen werden.</translation>
    </message>
    <message>
      <source>Segment:</source>
      <translation>Segment:</translation>
    </message>
    <message>
      <source>The segment that is the cord.</source>
      <translation>Das Segment, welches das Rückenmark ist.</translation>
    </message>
    <message>
      <source>Measure this mask</source>
      <translation>Maske messen</translation>
    </message>
    <message>
      <source>Measure volume, length and areas of this mask. No model is needed.</source>
      <translation>Volumen, Länge und Flächen dieser Maske messen. Dazu ist kein Modell nötig.</translation>
    </message>
    <message>
      <source>Cord volume:</source>
      <translation>Rückenmarkvolumen:</translation>
    </message>
    <message>
      <source>Length:</source>
      <translation>Länge:</translation>
    </message>
    <message>
      <source>Mean area:</source>
      <translation>Mittlere Fläche:</translation>
    </message>
    <message>
      <source>Flagged slices:</source>
      <translation>Auffällige Schichten:</translation>
    </message>
    <message>
      <source>Cross-sectional area along the cord, from inferior (left) to superior (right). Dots: flagged slices. Click to go to a slice.</source>
      <translation>Querschnittsfläche entlang des Rückenmarks, von kaudal (links) nach kranial (rechts). Punkte: auffällige Schichten. Klicken, um zu einer Schicht zu gehen.</translation>
    </message>
    <message>
      <source>Show 3D</source>
      <translation>3D zeigen</translation>
    </message>
    <message>
      <source>Show the surface of the mask in the 3D view.</source>
      <translation>Oberfläche der Maske in der 3D-Ansicht zeigen.</translation>
    </message>
    <message>
      <source>Review and correct</source>
      <translation>Prüfen und korrigieren</translation>
    </message>
    <message>
      <source>Worst first. Click a row to go to that slice.</source>
      <translation>Die auffälligste zuerst. Zeile anklicken, um zur Schicht zu gehen.</translation>
    </message>
    <message>
      <source>◀</source>
      <translation>◀</translation>
    </message>
    <message>
      <source>Go to the slice before it in the list (Ctrl+Up).</source>
      <translation>Zur vorigen Schicht der Liste (Strg+Auf).</translation>
    </message>
    <message>
      <source>Ctrl+Up</source>
      <translation>Ctrl+Up</translation>
    </message>
    <message>
      <source>Next ▶</source>
      <translation>Weiter ▶</translation>
    </message>
    <message>
      <source>Mark this slice as seen and go to the worst one that nobody has seen (Ctrl+Down).</source>
      <translation>Diese Schicht als gesehen markieren und zur auffälligsten gehen, die noch niemand gesehen hat (Strg+Ab).</translation>
    </message>
    <message>
      <source>Ctrl+Down</source>
      <translation>Ctrl+Down</translation>
    </message>
    <message>
      <source>Seen</source>
      <translation>Gesehen</translation>
    </message>
    <message>
      <source>Mark the current slice as seen, or as not seen.</source>
      <translation>Die aktuelle Schicht als gesehen oder nicht gesehen markieren.</translation>
    </message>
    <message>
      <source>Slices</source>
      <translation>Schichten</translation>
    </message>
    <message>
      <source>First slice to change, numbered as in the volume.</source>
      <translation>Erste zu ändernde Schicht, gezählt wie im Volumen.</translation>
    </message>
    <message>
      <source>–</source>
      <translation>–</translation>
    </message>
    <message>
      <source>Last slice to change.</source>
      <translation>Letzte zu ändernde Schicht.</translation>
    </message>
    <message>
      <source>Current slice</source>
      <translation>Aktuelle Schicht</translation>
    </message>
    <message>
      <source>Use the slice that the axial view shows.</source>
      <translation>Die Schicht der axialen Ansicht nehmen.</translation>
    </message>
    <message>
      <source>Re-run AI</source>
      <translation>KI erneut</translation>
    </message>
    <message>
      <source>Segment these slices again.</source>
      <translation>Diese Schichten neu segmentieren.</translation>
    </message>
    <message>
      <source>Fill between</source>
      <translation>Auffüllen</translation>
    </message>
    <message>
      <source>Redraw these slices from the two slices beside them.</source>
      <translation>Diese Schichten aus den beiden Nachbarschichten neu zeichnen.</translation>
    </message>
    <message>
      <source>Smooth</source>
      <translation>Glätten</translation>
    </message>
    <message>
      <source>Smooth steps between these slices; their area stays.</source>
      <translation>Stufen zwischen diesen Schichten glätten; ihre Fläche bleibt.</translation>
    </message>
    <message>
      <source>Earlier masks</source>
      <translation>Frühere</translation>
    </message>
    <message>
      <source>Save the mask in a folder of your own while you correct it, at most 30 s after a stroke; restore one of these, or a version that the case folder keeps.</source>
      <translation>Die Maske beim Korrigieren in einem eigenen Ordner sichern, spätestens 30 s nach einem Strich; eine davon oder eine Version aus dem Ordner des Falls wiederherstellen.</translation>
    </message>
    <message>
      <source>Undo</source>
      <translation>Rückgängig</translation>
    </message>
    <message>
      <source>Take back the last change of the mask.</source>
      <translation>Die letzte Änderung der Maske zurücknehmen.</translation>
    </message>
    <message>
      <source>Redo</source>
      <translation>Erneut</translation>
    </message>
    <message>
      <source>Make the change again that Undo took back.</source>
      <translation>Die zurückgenommene Änderung wieder ausführen.</translation>
    </message>
    <message>
      <source>Reviewer:</source>
      <translation>Geprüft von:</translation>
    </message>
    <message>
      <source>your name</source>
      <translation>Ihr Name</translation>
    </message>
    <message>
      <source>Saved in Slicer’s settings and with every decision.</source>
      <translation>Wird in Slicers Einstellungen und mit jeder Entscheidung gespeichert.</translation>
    </message>
    <message>
      <source>Note:</source>
      <translation>Notiz:</translation>
    </message>
    <message>
      <source>for the next reader</source>
      <translation>für die Nächsten</translation>
    </message>
    <message>
      <source>Saved with the case. Never a patient’s name.</source>
      <translation>Wird mit dem Fall gespeichert. Nie ein Patientenname.</translation>
    </message>
    <message>
      <source>Accept</source>
      <translation>Freigeben</translation>
    </message>
    <message>
      <source>The mask is right (Ctrl+Return). Your name and the time are saved with it.</source>
      <translation>Die Maske ist richtig (Strg+Eingabe). Ihr Name und die Zeit werden mit ihr gespeichert.</translation>
    </message>
    <message>
      <source>Reject</source>
      <translation>Verwerfen</translation>
    </message>
    <message>
      <source>The case cannot be used.</source>
      <translation>Der Fall ist nicht verwertbar.</translation>
    </message>
    <message>
      <source>To correct</source>
      <translation>Korrigieren</translation>
    </message>
    <message>
      <source>The mask needs a correction later: the case stays open in the work list.</source>
      <translation>Die Maske muss später korrigiert werden: Der Fall bleibt in der Arbeitsliste offen.</translation>
    </message>
    <message>
      <source>Reopen</source>
      <translation>Wieder öffnen</translation>
    </message>
    <message>
      <source>Take the decision back.</source>
      <translation>Die Entscheidung zurücknehmen.</translation>
    </message>
    <message>
      <source>History</source>
      <translation>Verlauf des Falls</translation>
    </message>
    <message>
      <source>Training set</source>
      <translation>Trainingsdaten</translation>
    </message>
    <message>
      <source>subject code</source>
      <translation>Probandencode</translation>
    </message>
    <message>
      <source>Letters and digits, the same for all cases of a person. Never a name.</source>
      <translation>Buchstaben und Ziffern, für alle Fälle einer Person gleich. Nie ein Name.</translation>
    </message>
    <message>
      <source>Add to training set…</source>
      <translation>Zu Trainingsdaten…</translation>
    </message>
    <message>
      <source>Writes image and label map as ITK-SNAP does. The model can learn from them: the button below.</source>
      <translation>Schreibt Bild und Label-Karte wie ITK-SNAP. Das Modell kann daraus lernen: Knopf darunter.</translation>
    </message>
    <message>
      <source>Replace earlier mask</source>
      <translation>Frühere Maske ersetzen</translation>
    </message>
    <message>
      <source>Replace the mask of an image that is already there; otherwise it keeps its own.</source>
      <translation>Die Maske eines schon vorhandenen Bildes ersetzen; sonst behält es seine.</translation>
    </message>
    <message>
      <source>Learn from my corrections…</source>
      <translation>Aus Korrekturen lernen…</translation>
    </message>
    <message>
      <source>Teach the chosen model the cases of a training set, in minutes. A better model comes into the list of models.</source>
      <translation>Dem gewählten Modell die Fälle der Trainingsdaten beibringen, in Minuten. Ein besseres Modell kommt in die Liste.</translation>
    </message>
    <message>
      <source>Levels and measures</source>
      <translation>Wirbelhöhen und Messwerte</translation>
    </message>
    <message>
      <source>Click a row to go to that slice in the views.</source>
      <translation>Zeile anklicken, um in den Ansichten zur Schicht zu gehen.</translation>
    </message>
    <message>
      <source>Plot and table</source>
      <translation>Kurve und Tabelle</translation>
    </message>
    <message>
      <source>Show the full table and the plot in the views.</source>
      <translation>Ganze Tabelle und Kurve in den Ansichten zeigen.</translation>
    </message>
    <message>
      <source>Mark disc C2/C3</source>
      <translation>Bandscheibe C2/C3</translation>
    </message>
    <message>
      <source>Press, then click into the disc in a view.</source>
      <translation>Drücken, dann in einer Ansicht in die Bandscheibe klicken.</translation>
    </message>
    <message>
      <source>✕</source>
      <translation>✕</translation>
    </message>
    <message>
      <source>Remove this mark.</source>
      <translation>Diese Marke entfernen.</translation>
    </message>
    <message>
      <source>Mark disc C7/T1</source>
      <translation>Bandscheibe C7/Th1</translation>
    </message>
    <message>
      <source>Around C2/C3:</source>
      <translation>Um C2/C3:</translation>
    </message>
    <message>
      <source>Mean area within this distance of the disc, along the cord.</source>
      <translation>Mittlere Fläche in diesem Abstand von der Bandscheibe, entlang des Rückenmarks.</translation>
    </message>
    <message>
      <source>not measured</source>
      <translation>nicht gemessen</translation>
    </message>
    <message>
      <source>± </source>
      <translation>± </translation>
    </message>
    <message>
      <source> mm</source>
      <translation> mm</translation>
    </message>
    <message>
      <source>Age:</source>
      <translation>Alter:</translation>
    </message>
    <message>
      <source>To compare C2 with healthy adults. It is not saved.</source>
      <translation>Um C2 mit gesunden Erwachsenen zu vergleichen. Wird nicht gespeichert.</translation>
    </message>
    <message>
      <source>not given</source>
      <translation>ohne Angabe</translation>
    </message>
    <message>
      <source> years</source>
      <translation> Jahre</translation>
    </message>
    <message>
      <source>Sex:</source>
      <translation>Geschlecht:</translation>
    </message>
    <message>
      <source>T1w, corrected in 3D</source>
      <translation>T1w, in 3D entzerrt</translation>
    </message>
    <message>
      <source>T1-weighted, and corrected for distortion in 3D. Tick it only if you know it. Without both, the area cannot be compared with healthy adults.</source>
      <translation>T1-gewichtet und in 3D verzeichnungskorrigiert. Nur ankreuzen, wenn bekannt. Ohne beides ist kein Vergleich mit gesunden Erwachsenen möglich.</translation>
    </message>
    <message>
      <source>Follow-up</source>
      <translation>Verlaufskontrolle</translation>
    </message>
    <message>
      <source>One row for each visit. Type the day as YYYY-MM-DD.</source>
      <translation>Eine Zeile je Untersuchung. Tag als JJJJ-MM-TT eingeben.</translation>
    </message>
    <message>
      <source>Add this mask</source>
      <translation>Maske hinzufügen</translation>
    </message>
    <message>
      <source>Add the current mask as a visit.</source>
      <translation>Die aktuelle Maske als Untersuchung hinzufügen.</translation>
    </message>
    <message>
      <source>Add result folder…</source>
      <translation>Ergebnisordner…</translation>
    </message>
    <message>
      <source>Add the result folder of one case, as segment or measure wrote it.</source>
      <translation>Den Ergebnisordner eines Falls hinzufügen, wie ihn segment oder measure schrieb.</translation>
    </message>
    <message>
      <source>Remove visit</source>
      <translation>Entfernen</translation>
    </message>
    <message>
      <source>Remove the chosen visit from the list.</source>
      <translation>Die gewählte Untersuchung aus der Liste entfernen.</translation>
    </message>
    <message>
      <source>Compare in linked views</source>
      <translation>In Ansichten vergleichen</translation>
    </message>
    <message>
      <source>The chosen visit above, the current mask below, at the same level. Position and zoom are linked. Press again to go back.</source>
      <translation>Oben die gewählte Untersuchung, unten die aktuelle Maske, auf gleicher Höhe. Position und Zoom sind gekoppelt. Erneut drücken, um zurückzugehen.</translation>
    </message>
    <message>
      <source>Person:</source>
      <translation>Person:</translation>
    </message>
    <message>
      <source>person</source>
      <translation>Person</translation>
    </message>
    <message>
      <source>A code, never a name: it is written into the results.</source>
      <translation>Ein Code, nie ein Name: Er steht in den Ergebnissen.</translation>
    </message>
    <message>
      <source>At the first visit, for the range of healthy adults. It is not saved.</source>
      <translation>Bei der ersten Untersuchung, für den Bereich gesunder Erwachsener. Wird nicht gespeichert.</translation>
    </message>
    <message>
      <source>Write dates</source>
      <translation>Daten schreiben</translation>
    </message>
    <message>
      <source>Otherwise only the time between visits is written.</source>
      <translation>Sonst wird nur die Zeit zwischen den Untersuchungen geschrieben.</translation>
    </message>
    <message>
      <source>Compare over time</source>
      <translation>Im Verlauf vergleichen</translation>
    </message>
    <message>
      <source>Compare the visits on the part of the cord that all of them cover.</source>
      <translation>Die Untersuchungen auf dem Abschnitt vergleichen, den alle abbilden.</translation>
    </message>
    <message>
      <source>Mean area of the part that all visits cover. Bars: repeatability of the measurement. Green: healthy adults. Red: not comparable.</source>
      <translation>Mittlere Fläche des gemeinsamen Abschnitts. Balken: Wiederholbarkeit der Messung. Grün: gesunde Erwachsene. Rot: nicht vergleichbar.</translation>
    </message>
    <message>
      <source>Export…</source>
      <translation>Exportieren…</translation>
    </message>
    <message>
      <source>Save the follow-up as CSV, JSON and HTML in a new folder.</source>
      <translation>Die Verlaufskontrolle als CSV, JSON und HTML in einem neuen Ordner speichern.</translation>
    </message>
    <message>
      <source>Export</source>
      <translation>Export</translation>
    </message>
    <message>
      <source>Copy as report text</source>
      <translation>Als Befundtext kopieren</translation>
    </message>
    <message>
      <source>Copy one sentence with numbers, units and limits to the clipboard.</source>
      <translation>Einen Satz mit Zahlen, Einheiten und Grenzen in die Zwischenablage kopieren.</translation>
    </message>
    <message>
      <source>Save mask (NIfTI), measures (CSV, JSON), page and pictures in a new folder, as the command line does.</source>
      <translation>Maske (NIfTI), Messwerte (CSV, JSON), Seite und Bilder in einem neuen Ordner speichern, wie die Kommandozeile.</translation>
    </message>
    <message>
      <source>DICOM objects of the study:</source>
      <translation>DICOM-Objekte der Studie:</translation>
    </message>
    <message>
      <source>Mask</source>
      <translation>Maske</translation>
    </message>
    <message>
      <source>DICOM segmentation (SEG)</source>
      <translation>DICOM-Segmentierung (SEG)</translation>
    </message>
    <message>
      <source>Measures</source>
      <translation>Messwerte</translation>
    </message>
    <message>
      <source>Structured report (TID 1500)</source>
      <translation>Strukturierter Bericht (TID 1500)</translation>
    </message>
    <message>
      <source>Report</source>
      <translation>Bericht</translation>
    </message>
    <message>
      <source>Report page (Encapsulated PDF)</source>
      <translation>Berichtsseite (Encapsulated PDF)</translation>
    </message>
    <message>
      <source>A person drew this mask</source>
      <translation>Von einer Person gezeichnet</translation>
    </message>
    <message>
      <source>For a mask made elsewhere: DICOM must state who made it.</source>
      <translation>Für eine anderswo erstellte Maske: DICOM muss angeben, wer sie gemacht hat.</translation>
    </message>
    <message>
      <source>Write DICOM…</source>
      <translation>DICOM schreiben…</translation>
    </message>
    <message>
      <source>Write into a folder of your choice. If Slicer’s DICOM database does not know the series, its folder is asked for first. The module DICOM imports what is written. Nothing is sent anywhere.</source>
      <translation>In einen Ordner Ihrer Wahl schreiben. Kennt Slicers DICOM-Datenbank die Serie nicht, wird zuerst nach ihrem Ordner gefragt. Das Modul DICOM importiert das Geschriebene. Nichts wird versendet.</translation>
    </message>
    <message>
      <source>Research use, not for diagnosis. Nothing is sent anywhere.</source>
      <translation>Nur für die Forschung, nicht zur Diagnose. Nichts wird versendet.</translation>
    </message>
    <message>
      <source>Spinal Cord Segmentation</source>
      <translation>Rückenmark-Segmentierung</translation>
    </message>
    <message>
      <source>Finds the cervical spinal cord in MR volumes and measures it: volume, length, cross-sectional area along the cord. Research use, not for diagnosis.</source>
      <translation>Findet das zervikale Rückenmark in MR-Volumina und misst es: Volumen, Länge, Querschnittsfläche. Nur für die Forschung, nicht zur Diagnose.</translation>
    </message>
    <message>
      <source>After Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4.</source>
      <translation>Nach Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4.</translation>
    </message>
    <message>
      <source>Tutorials and documentation</source>
      <translation>Anleitungen und Dokumentation</translation>
    </message>
    <message>
      <source>The run was cancelled.</source>
      <translation>Der Lauf wurde abgebrochen.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.current_mask</name>
    <message>
      <source>Slices corrected by hand: {n}; {added:.0f} mm³ added, {removed:.0f} mm³ removed, Dice against the AI {dice:.4f}.</source>
      <translation>Von Hand korrigierte Schichten: {n}; {added:.0f} mm³ hinzugefügt, {removed:.0f} mm³ entfernt, Dice gegen die KI {dice:.4f}.</translation>
    </message>
    <message>
      <source>The image was changed since the mask was measured on it: look at the mask, and measure it again.</source>
      <translation>Das Bild wurde geändert, seit die Maske darauf gemessen wurde: Maske ansehen und neu messen.</translation>
    </message>
    <message>
      <source>Volume and areas are up to date; measure again for the full report.</source>
      <translation>Volumen und Flächen sind aktuell; für den ganzen Bericht neu messen.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.export_section</name>
    <message>
      <source>Folder for the DICOM files</source>
      <translation>Ordner für die DICOM-Dateien</translation>
    </message>
    <message>
      <source>No spinal cord was found</source>
      <translation>Kein Rückenmark gefunden</translation>
    </message>
    <message>
      <source>1 slice flagged for review</source>
      <translation>1 Schicht zur Prüfung markiert</translation>
    </message>
    <message>
      <source>mask drawn or made elsewhere, measured with SpinalCordSeg {version}</source>
      <translation>Maske gezeichnet oder anderswo erstellt, gemessen mit SpinalCordSeg {version}</translation>
    </message>
    <message>
      <source>found automatically by SpinalCordSeg {version} with model {model} {model_version}</source>
      <translation>automatisch gefunden von SpinalCordSeg {version} mit Modell {model} {model_version}</translation>
    </message>
    <message>
      <source>volume depends on the coverage of the image</source>
      <translation>das Volumen hängt von der Abdeckung des Bildes ab</translation>
    </message>
    <message>
      <source>Research use, not for diagnosis.</source>
      <translation>Nur für die Forschung, nicht zur Diagnose.</translation>
    </message>
    <message>
      <source>not reported</source>
      <translation>nicht angegeben</translation>
    </message>
    <message>
      <source>Save {name}…</source>
      <translation>{name} speichern…</translation>
    </message>
    <message>
      <source>DICOM of {name}…</source>
      <translation>DICOM von {name}…</translation>
    </message>
    <message>
      <source>mask corrected by hand</source>
      <translation>Maske von Hand korrigiert</translation>
    </message>
    <message>
      <source>Measure the mask first.</source>
      <translation>Zuerst die Maske messen.</translation>
    </message>
    <message>
      <source>The report says that a model made the mask.</source>
      <translation>Laut Bericht hat ein Modell die Maske erstellt.</translation>
    </message>
    <message>
      <source>Folder of the DICOM series that the volume was made from</source>
      <translation>Ordner der DICOM-Serie, aus der das Volumen stammt</translation>
    </message>
    <message>
      <source>Replace {names}?</source>
      <translation>{names} ersetzen?</translation>
    </message>
    <message>
      <source>Written: {names}.</source>
      <translation>Geschrieben: {names}.</translation>
    </message>
    <message>
      <source>Choose what to write.</source>
      <translation>Auswählen, was geschrieben wird.</translation>
    </message>
    <message>
      <source>Spinal cord volume {volume}, over a length of {length} ({n} slices), mean area {area}</source>
      <translation>Rückenmarkvolumen {volume} über eine Länge von {length} ({n} Schichten), mittlere Querschnittsfläche {area}</translation>
    </message>
    <message>
      <source>{n} slices flagged for review</source>
      <translation>{n} Schichten zur Prüfung markiert</translation>
    </message>
    <message>
      <source>The report text of {name} is on the clipboard.</source>
      <translation>Der Befundtext von {name} ist in der Zwischenablage.</translation>
    </message>
    <message>
      <source>Where to put the case folder</source>
      <translation>Zielordner für den Fall</translation>
    </message>
    <message>
      <source>Saved: {name}.</source>
      <translation>Gespeichert: {name}.</translation>
    </message>
    <message>
      <source>Nothing was written: {name} exists already.</source>
      <translation>Nichts geschrieben: {name} gibt es schon.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.followup_section</name>
    <message>
      <source>The disc C2/C3 was found by the program: look whether it is the same in both.</source>
      <translation>Die Bandscheibe C2/C3 hat das Programm gefunden: prüfen, ob es in beiden dieselbe ist.</translation>
    </message>
    <message>
      <source> in doubt</source>
      <translation> (zweifelhaft)</translation>
    </message>
    <message>
      <source>from the images {percent:+.1f} % ± {reach:.1f} %</source>
      <translation>aus den Bildern {percent:+.1f} % ± {reach:.1f} %</translation>
    </message>
    <message>
      <source>Choose a visit in the list first.</source>
      <translation>Zuerst eine Untersuchung der Liste wählen.</translation>
    </message>
    <message>
      <source>Add {name}</source>
      <translation>{name} hinzufügen</translation>
    </message>
    <message>
      <source>Remarks:</source>
      <translation>Anmerkungen:</translation>
    </message>
    <message>
      <source>Add the mask of the prior visit, and choose it in the list.</source>
      <translation>Die Maske der Voruntersuchung hinzufügen und in der Liste wählen.</translation>
    </message>
    <message>
      <source>Both masks need their volume in the scene.</source>
      <translation>Beide Masken brauchen ihr Volumen in der Szene.</translation>
    </message>
    <message>
      <source>Visit</source>
      <translation>Untersuchung</translation>
    </message>
    <message>
      <source>YYYY-MM-DD</source>
      <translation>JJJJ-MM-TT</translation>
    </message>
    <message>
      <source>Disc
C2/C3</source>
      <translation>Bandscheibe
C2/C3</translation>
    </message>
    <message>
      <source>Years</source>
      <translation>Jahre</translation>
    </message>
    <message>
      <source>Area
mm²</source>
      <translation>Fläche
mm²</translation>
    </message>
    <message>
      <source>Change / MDC</source>
      <translation>Änderung / MDC</translation>
    </message>
    <message>
      <source>marked</source>
      <translation>markiert</translation>
    </message>
    <message>
      <source>Add at least two visits.</source>
      <translation>Mindestens zwei Untersuchungen hinzufügen.</translation>
    </message>
    <message>
      <source>Nothing was compared yet.</source>
      <translation>Noch nichts verglichen.</translation>
    </message>
    <message>
      <source>IN DOUBT, so no change has a verdict: one person, at the same level?</source>
      <translation>ZWEIFELHAFT, daher keine Bewertung der Änderung: eine Person, auf gleicher Höhe?</translation>
    </message>
    <message>
      <source>NOT COMPARABLE: no yearly rate is given across these changes.</source>
      <translation>NICHT VERGLEICHBAR: über diese Änderungen hinweg keine Jahresrate.</translation>
    </message>
    <message>
      <source>Compared. Not all visits are comparable.</source>
      <translation>Verglichen. Nicht alle Untersuchungen sind vergleichbar.</translation>
    </message>
    <message>
      <source>Compared.</source>
      <translation>Verglichen.</translation>
    </message>
    <message>
      <source>no change from the images: {why}</source>
      <translation>keine Änderung aus den Bildern: {why}</translation>
    </message>
    <message>
      <source>reported</source>
      <translation>im Bericht</translation>
    </message>
    <message>
      <source>not yet</source>
      <translation>noch nicht</translation>
    </message>
    <message>
      <source>Give the day of: {names}.</source>
      <translation>Tag angeben von: {names}.</translation>
    </message>
    <message>
      <source>Mark the disc C2/C3 of {names} (Levels and measures).</source>
      <translation>Bandscheibe C2/C3 von {names} markieren (Wirbelhöhen und Messwerte).</translation>
    </message>
    <message>
      <source>Result folder of one visit</source>
      <translation>Ergebnisordner einer Untersuchung</translation>
    </message>
    <message>
      <source>Where to put the follow-up</source>
      <translation>Zielordner für die Verlaufskontrolle</translation>
    </message>
    <message>
      <source>Saved: {name}.</source>
      <translation>Gespeichert: {name}.</translation>
    </message>
    <message>
      <source>areas at one sharpness {percent:+.1f} %</source>
      <translation>Flächen bei gleicher Schärfe {percent:+.1f} %</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.install</name>
    <message>
      <source>Download and install {names} (about {size})? They find the cord, draw figures, make page and DICOM.</source>
      <translation>{names} herunterladen und installieren (etwa {size})? Sie finden das Rückenmark, zeichnen Kurven, erstellen Seite und DICOM.</translation>
    </message>
    <message>
      <source>Packages for models, figures, report and DICOM are not installed: {names}.</source>
      <translation>Pakete für Modelle, Kurven, Bericht und DICOM fehlen: {names}.</translation>
    </message>
    <message>
      <source>{package} is installed but does not start ({detail}). Install it again, then restart Slicer.</source>
      <translation>{package} ist installiert, startet aber nicht ({detail}). Neu installieren, dann Slicer neu starten.</translation>
    </message>
    <message>
      <source>Nothing was installed.</source>
      <translation>Nichts wurde installiert.</translation>
    </message>
    <message>
      <source>Slicer must be restarted to use what was installed. Restart it now?</source>
      <translation>Slicer muss neu gestartet werden, um das Installierte zu nutzen. Jetzt neu starten?</translation>
    </message>
    <message>
      <source>ONNX Runtime is needed to find the cord, and is not installed. Measuring a mask works without it.</source>
      <translation>ONNX Runtime wird gebraucht, um das Rückenmark zu finden, und ist nicht installiert. Eine Maske messen geht ohne.</translation>
    </message>
    <message>
      <source>Install packages…</source>
      <translation>Pakete installieren…</translation>
    </message>
    <message>
      <source>Installed: {names}.</source>
      <translation>Installiert: {names}.</translation>
    </message>
    <message>
      <source>Install again…</source>
      <translation>Neu installieren…</translation>
    </message>
    <message>
      <source>Install from a folder of wheels…</source>
      <translation>Aus einem Ordner mit Wheels installieren…</translation>
    </message>
    <message>
      <source>Not installed: {names} ({reason}). Without the internet: Model and device, Packages, a folder.</source>
      <translation>Nicht installiert: {names} ({reason}). Ohne Internet: Modell und Gerät, Pakete, ein Ordner.</translation>
    </message>
    <message>
      <source>{package} is missing</source>
      <translation>{package} fehlt</translation>
    </message>
    <message>
      <source>Repair {package}…</source>
      <translation>{package} reparieren…</translation>
    </message>
    <message>
      <source>Automatic</source>
      <translation>Automatisch</translation>
    </message>
    <message>
      <source>Folder of wheels</source>
      <translation>Ordner mit Wheels</translation>
    </message>
    <message>
      <source>not installed</source>
      <translation>nicht installiert</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.jobs</name>
    <message>
      <source>The run ended unexpectedly (exit code {code}). If it happens again, copy the report and ask.</source>
      <translation>Der Lauf endete unerwartet (Code {code}). Wenn es wieder geschieht, den Bericht kopieren und fragen.</translation>
    </message>
    <message>
      <source>Learning: {done} of {of} updates</source>
      <translation>Lernen: {done} von {of} Schritten</translation>
    </message>
    <message>
      <source>Slice {done} of {of}</source>
      <translation>Schicht {done} von {of}</translation>
    </message>
    <message>
      <source>The system ended the run, probably because memory ran out: close other programs (or train with a smaller batch).</source>
      <translation>Das System hat den Lauf beendet, wohl weil der Arbeitsspeicher nicht reichte: andere Programme schließen (oder mit kleinerem Batch trainieren).</translation>
    </message>
    <message>
      <source>Starting…</source>
      <translation>Startet…</translation>
    </message>
    <message>
      <source>Reading the image…</source>
      <translation>Bild wird gelesen…</translation>
    </message>
    <message>
      <source>Measuring…</source>
      <translation>Misst…</translation>
    </message>
    <message>
      <source>Working…</source>
      <translation>Arbeitet…</translation>
    </message>
    <message>
      <source>{text}, about {minutes} min left</source>
      <translation>{text}, noch etwa {minutes} min</translation>
    </message>
    <message>
      <source>{text}, about {seconds} s left</source>
      <translation>{text}, noch etwa {seconds} s</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.levels_section</name>
    <message>
      <source>two discs</source>
      <translation>zwei Bandscheiben</translation>
    </message>
    <message>
      <source>fitted</source>
      <translation>angepasst</translation>
    </message>
    <message>
      <source>approximate</source>
      <translation>ungefähr</translation>
    </message>
    <message>
      <source>disc</source>
      <translation>Bandscheibe</translation>
    </message>
    <message>
      <source>not given</source>
      <translation>ohne Angabe</translation>
    </message>
    <message>
      <source>female</source>
      <translation>weiblich</translation>
    </message>
    <message>
      <source>male</source>
      <translation>männlich</translation>
    </message>
    <message>
      <source>Slice</source>
      <translation>Schicht</translation>
    </message>
    <message>
      <source>Area
mm²</source>
      <translation>Fläche
mm²</translation>
    </message>
    <message>
      <source>AP × RL
mm</source>
      <translation>AP × RL
mm</translation>
    </message>
    <message>
      <source>Flags</source>
      <translation>Hinweise</translation>
    </message>
    <message>
      <source>Level</source>
      <translation>Höhe</translation>
    </message>
    <message>
      <source>Covered</source>
      <translation>Abgedeckt</translation>
    </message>
    <message>
      <source>How</source>
      <translation>Wie</translation>
    </message>
    <message>
      <source>Click into the disc in a sagittal view.</source>
      <translation>In einer sagittalen Ansicht in die Bandscheibe klicken.</translation>
    </message>
    <message>
      <source>Measure the mask first.</source>
      <translation>Zuerst die Maske messen.</translation>
    </message>
    <message>
      <source>marked</source>
      <translation>markiert</translation>
    </message>
    <message>
      <source>Plot or table was deleted: measure the mask again.</source>
      <translation>Kurve oder Tabelle wurde gelöscht: Maske neu messen.</translation>
    </message>
    <message>
      <source>This slice is no longer in the mask: measure the mask again.</source>
      <translation>Diese Schicht ist nicht mehr in der Maske: neu messen.</translation>
    </message>
    <message>
      <source>found</source>
      <translation>gefunden</translation>
    </message>
    <message>
      <source>not marked</source>
      <translation>nicht markiert</translation>
    </message>
    <message>
      <source>click in a view…</source>
      <translation>in eine Ansicht klicken…</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.main_widget</name>
    <message>
      <source>Choose a mask first (section Segment).</source>
      <translation>Zuerst eine Maske wählen (Abschnitt Segmentieren).</translation>
    </message>
    <message>
      <source>Choose the segment that is the cord (section Segment).</source>
      <translation>Das Segment wählen, welches das Rückenmark ist (Abschnitt Segmentieren).</translation>
    </message>
    <message>
      <source>Wait until the run has ended, or cancel it.</source>
      <translation>Warten, bis der Lauf endet, oder abbrechen.</translation>
    </message>
    <message>
      <source>The image of the mask is not in the scene.</source>
      <translation>Das Bild der Maske ist nicht in der Szene.</translation>
    </message>
    <message>
      <source>The mask was changed since it was measured: measure it first.</source>
      <translation>Die Maske wurde seit der Messung geändert: zuerst messen.</translation>
    </message>
    <message>
      <source>Measure the mask first.</source>
      <translation>Zuerst die Maske messen.</translation>
    </message>
    <message>
      <source>The volume or the mask was deleted meanwhile: the result was not kept.</source>
      <translation>Volumen oder Maske wurde inzwischen gelöscht: Ergebnis verworfen.</translation>
    </message>
    <message>
      <source>{name} was removed from the scene: choose another one.</source>
      <translation>{name} wurde aus der Szene entfernt: etwas anderes wählen.</translation>
    </message>
    <message>
      <source>Another mask was chosen meanwhile: nothing was done. Choose the mask, and do it again.</source>
      <translation>Inzwischen wurde eine andere Maske gewählt: nichts getan. Maske wählen und wiederholen.</translation>
    </message>
    <message>
      <source>…</source>
      <translation>…</translation>
    </message>
    <message>
      <source>{name}: measured.</source>
      <translation>{name}: gemessen.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.review_section</name>
    <message>
      <source>Not measured yet: nothing is flagged.</source>
      <translation>Noch nicht gemessen: nichts ist markiert.</translation>
    </message>
    <message>
      <source>No slice is flagged. Scroll through the mask once all the same.</source>
      <translation>Keine Schicht ist auffällig. Die Maske trotzdem einmal durchblättern.</translation>
    </message>
    <message>
      <source>Accept {name}</source>
      <translation>{name} freigeben</translation>
    </message>
    <message>
      <source>Accept, though not every flagged slice was seen.</source>
      <translation>Freigeben, obwohl nicht jede auffällige Schicht gesehen wurde.</translation>
    </message>
    <message>
      <source>Add {name}…</source>
      <translation>{name} hinzufügen…</translation>
    </message>
    <message>
      <source>The image of the mask is not in the scene.</source>
      <translation>Das Bild der Maske ist nicht in der Szene.</translation>
    </message>
    <message>
      <source>{mask}: slices {first} to {last} were segmented again.</source>
      <translation>{mask}: Schichten {first} bis {last} wurden neu segmentiert.</translation>
    </message>
    <message>
      <source>Only corrected or accepted masks can be trained on.</source>
      <translation>Nur korrigierte oder freigegebene Masken eignen sich zum Training.</translation>
    </message>
    <message>
      <source>Type a subject code of letters and digits, never a name.</source>
      <translation>Probandencode aus Buchstaben und Ziffern eingeben, nie einen Namen.</translation>
    </message>
    <message>
      <source>PyTorch is needed: the module Spinal Cord Segmentation Trainer installs it.</source>
      <translation>PyTorch wird gebraucht: das Modul Spinal Cord Segmentation Trainer installiert es.</translation>
    </message>
    <message>
      <source>Folder of the training set</source>
      <translation>Ordner der Trainingsdaten</translation>
    </message>
    <message>
      <source>{left} of {all} flagged slices to look at, worst first:</source>
      <translation>{left} von {all} auffälligen Schichten anzusehen, die auffälligste zuerst:</translation>
    </message>
    <message>
      <source>Slice</source>
      <translation>Schicht</translation>
    </message>
    <message>
      <source>Seen</source>
      <translation>Gesehen</translation>
    </message>
    <message>
      <source>Why</source>
      <translation>Warum</translation>
    </message>
    <message>
      <source>When (UTC)</source>
      <translation>Wann (UTC)</translation>
    </message>
    <message>
      <source>What</source>
      <translation>Was</translation>
    </message>
    <message>
      <source>Who</source>
      <translation>Wer</translation>
    </message>
    <message>
      <source>Measure the mask first.</source>
      <translation>Zuerst die Maske messen.</translation>
    </message>
    <message>
      <source>No slice is flagged.</source>
      <translation>Keine Schicht ist auffällig.</translation>
    </message>
    <message>
      <source>Ctrl+Return</source>
      <translation>Ctrl+Return</translation>
    </message>
    <message>
      <source>Type the reviewer’s name first.</source>
      <translation>Zuerst den Namen der prüfenden Person eingeben.</translation>
    </message>
    <message>
      <source>Every flagged slice was looked at.</source>
      <translation>Alle auffälligen Schichten wurden angesehen.</translation>
    </message>
    <message>
      <source>The mask was measured but not accepted: it changed, or another one was chosen. Accept it again.</source>
      <translation>Die Maske wurde gemessen, aber nicht freigegeben: Sie änderte sich, oder eine andere wurde gewählt. Erneut freigeben.</translation>
    </message>
    <message>
      <source>{who} accepted this mask. Reopen the case for your change?</source>
      <translation>{who} hat diese Maske freigegeben. Den Fall für Ihre Änderung wieder öffnen?</translation>
    </message>
    <message>
      <source>No axial view shows a slice of this volume.</source>
      <translation>Keine axiale Ansicht zeigt eine Schicht dieses Volumens.</translation>
    </message>
    <message>
      <source>The case is in the training set {name}.</source>
      <translation>Der Fall ist in den Trainingsdaten {name}.</translation>
    </message>
    <message>
      <source>{state}, {who}, {day}</source>
      <translation>{state}, {who}, {day}</translation>
    </message>
    <message>
      <source>Go to a slice of the list first.</source>
      <translation>Zuerst zu einer Schicht der Liste gehen.</translation>
    </message>
    <message>
      <source>Nothing was decided yet.</source>
      <translation>Noch nichts entschieden.</translation>
    </message>
    <message>
      <source>This is the decision already.</source>
      <translation>So ist bereits entschieden.</translation>
    </message>
    <message>
      <source>nothing yet</source>
      <translation>noch nichts</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.sample_data</name>
    <message>
      <source>Spinal Cord Segmentation</source>
      <translation>Rückenmark-Segmentierung</translation>
    </message>
    <message>
      <source>Neck T1w</source>
      <translation>Hals T1w</translation>
    </message>
    <message>
      <source>Simulated neck</source>
      <translation>Simulierter Hals</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.section</name>
    <message>
      <source>The scene says that these are of different patients. If they are of one, put them under one patient in the module Data; else choose another one.</source>
      <translation>Laut Szene gehören diese zu verschiedenen Patienten. Gehören sie zu einem, im Modul Data unter einen Patienten legen; sonst etwas anderes wählen.</translation>
    </message>
    <message>
      <source>not reviewed</source>
      <translation>nicht geprüft</translation>
    </message>
    <message>
      <source>given</source>
      <translation>vorgegeben</translation>
    </message>
    <message>
      <source>in review</source>
      <translation>in Prüfung</translation>
    </message>
    <message>
      <source>to correct</source>
      <translation>zu korrigieren</translation>
    </message>
    <message>
      <source>corrected</source>
      <translation>korrigiert</translation>
    </message>
    <message>
      <source>accepted</source>
      <translation>freigegeben</translation>
    </message>
    <message>
      <source>rejected</source>
      <translation>verworfen</translation>
    </message>
    <message>
      <source>The figure needs the package matplotlib: install it at the top of this panel.</source>
      <translation>Die Kurve braucht das Paket matplotlib: oben in diesem Panel installieren.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.segment_section</name>
    <message>
      <source>trained on {n} slices ({kinds})</source>
      <translation>trainiert mit {n} Schichten ({kinds})</translation>
    </message>
    <message>
      <source>{name}: done in {seconds:.0f} s on {device}.</source>
      <translation>{name}: fertig in {seconds:.0f} s auf {device}.</translation>
    </message>
    <message>
      <source>There is no model: add one from a file (button … beside the list).</source>
      <translation>Kein Modell vorhanden: eines aus einer Datei hinzufügen (Knopf … neben der Liste).</translation>
    </message>
    <message>
      <source>Models (*.safetensors)</source>
      <translation>Modelle (*.safetensors)</translation>
    </message>
    <message>
      <source>Add a model</source>
      <translation>Modell hinzufügen</translation>
    </message>
    <message>
      <source>Choose a volume first.</source>
      <translation>Zuerst ein Volumen wählen.</translation>
    </message>
    <message>
      <source>Measure the mask of {name}</source>
      <translation>Maske von {name} messen</translation>
    </message>
    <message>
      <source>Find the cord and measure it.</source>
      <translation>Das Rückenmark finden und messen.</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
    <message>
      <source>The image of {name} was changed meanwhile: the result was not kept. Apply again.</source>
      <translation>Das Bild von {name} wurde inzwischen geändert: Ergebnis verworfen. Erneut anwenden.</translation>
    </message>
    <message>
      <source>the CPU</source>
      <translation>dem Prozessor</translation>
    </message>
    <message>
      <source>Apply</source>
      <translation>Anwenden</translation>
    </message>
    <message>
      <source>End the run.</source>
      <translation>Den Lauf beenden.</translation>
    </message>
    <message>
      <source>Cancelling…</source>
      <translation>Wird abgebrochen…</translation>
    </message>
    <message>
      <source>{n} of {all}</source>
      <translation>{n} von {all}</translation>
    </message>
    <message>
      <source>Apply to {name}</source>
      <translation>Auf {name} anwenden</translation>
    </message>
    <message>
      <source>Install {size} and apply</source>
      <translation>{size} installieren, anwenden</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.versions</name>
    <message>
      <source>This mask does not contain its autosave of {time}: “Earlier masks” restores it.</source>
      <translation>Diese Maske enthält ihre Sicherung von {time} nicht: „Frühere“ stellt sie wieder her.</translation>
    </message>
    <message>
      <source>Saved already.</source>
      <translation>Schon gesichert.</translation>
    </message>
    <message>
      <source>Autosave in a folder…</source>
      <translation>In einem Ordner sichern…</translation>
    </message>
    <message>
      <source>Version {number}, {time}, {who}</source>
      <translation>Version {number}, {time}, {who}</translation>
    </message>
    <message>
      <source>The mask of {time} was restored.</source>
      <translation>Die Maske von {time} wurde wiederhergestellt.</translation>
    </message>
    <message>
      <source>Autosave no more</source>
      <translation>Nicht mehr sichern</translation>
    </message>
    <message>
      <source>Restore {time}</source>
      <translation>{time} wiederherstellen</translation>
    </message>
    <message>
      <source>The mask that was changed last was NOT saved: {reason}</source>
      <translation>Die zuletzt geänderte Maske wurde NICHT gesichert: {reason}</translation>
    </message>
    <message>
      <source>Saved: {time}.</source>
      <translation>Gesichert: {time}.</translation>
    </message>
    <message>
      <source>Folder for autosaves</source>
      <translation>Ordner für Sicherungen</translation>
    </message>
    <message>
      <source>No autosave yet</source>
      <translation>Noch keine Sicherung</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.work_list</name>
    <message>
      <source>Case</source>
      <translation>Fall</translation>
    </message>
    <message>
      <source>State</source>
      <translation>Zustand</translation>
    </message>
    <message>
      <source>To look at</source>
      <translation>Anzusehen</translation>
    </message>
    <message>
      <source>unreadable</source>
      <translation>nicht lesbar</translation>
    </message>
    <message>
      <source>{left} of {all} cases open.</source>
      <translation>{left} von {all} Fällen offen.</translation>
    </message>
    <message>
      <source>Choose a folder of results first.</source>
      <translation>Zuerst einen Ergebnisordner wählen.</translation>
    </message>
    <message>
      <source>Every case of the list is accepted or rejected.</source>
      <translation>Alle Fälle der Liste sind freigegeben oder verworfen.</translation>
    </message>
    <message>
      <source>Open a case first.</source>
      <translation>Zuerst einen Fall öffnen.</translation>
    </message>
    <message>
      <source>This is not the case of the current mask: open it first.</source>
      <translation>Das ist nicht der Fall der aktuellen Maske: zuerst öffnen.</translation>
    </message>
    <message>
      <source>Folder of results</source>
      <translation>Ergebnisordner</translation>
    </message>
    <message>
      <source>Folder of images</source>
      <translation>Bilderordner</translation>
    </message>
    <message>
      <source>{n} of {all}</source>
      <translation>{n} von {all}</translation>
    </message>
    <message>
      <source>{case} is stored.</source>
      <translation>{case} ist gespeichert.</translation>
    </message>
    <message>
      <source>Case {n}: {case}.</source>
      <translation>Fall {n}: {case}.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegTrainer</name>
    <message>
      <source>1. Cases</source>
      <translation>1. Fälle</translation>
    </message>
    <message>
      <source>Folder:</source>
      <translation>Ordner:</translation>
    </message>
    <message>
      <source>Images and label maps: NAME beside NAME_seg or NAME.seg.nrrd, or BIDS with derivatives/labels.</source>
      <translation>Bilder und Label-Karten: NAME neben NAME_seg oder NAME.seg.nrrd, oder BIDS mit derivatives/labels.</translation>
    </message>
    <message>
      <source>…</source>
      <translation>…</translation>
    </message>
    <message>
      <source>Choose the folder.</source>
      <translation>Ordner wählen.</translation>
    </message>
    <message>
      <source>Cord is label:</source>
      <translation>Label:</translation>
    </message>
    <message>
      <source>Value of the cord in label maps with several labels.</source>
      <translation>Wert des Rückenmarks in Label-Karten mit mehreren Labels.</translation>
    </message>
    <message>
      <source>the only one</source>
      <translation>das einzige</translation>
    </message>
    <message>
      <source>Resample label maps</source>
      <translation>Label-Karten umrechnen</translation>
    </message>
    <message>
      <source>A label map on another grid than its image is resampled, and the table shows it. Otherwise it is refused.</source>
      <translation>Eine Label-Karte auf anderem Gitter als ihr Bild wird auf das Gitter des Bildes umgerechnet, und die Tabelle zeigt es. Sonst wird sie abgelehnt.</translation>
    </message>
    <message>
      <source>Check the cases</source>
      <translation>Fälle prüfen</translation>
    </message>
    <message>
      <source>Click a row to see everything about that case.</source>
      <translation>Zeile anklicken, um alles über den Fall zu sehen.</translation>
    </message>
    <message>
      <source>2. Settings</source>
      <translation>2. Einstellungen</translation>
    </message>
    <message>
      <source>Name:</source>
      <translation>Name:</translation>
    </message>
    <message>
      <source>Name of the model.</source>
      <translation>Name des Modells.</translation>
    </message>
    <message>
      <source>Run folder:</source>
      <translation>Laufordner:</translation>
    </message>
    <message>
      <source>Slices, curves and weights are written here. One folder per run.</source>
      <translation>Hierher kommen Schichten, Kurven und Gewichte. Ein Ordner je Lauf.</translation>
    </message>
    <message>
      <source>Network:</source>
      <translation>Netz:</translation>
    </message>
    <message>
      <source>RA-U-Net is the network of the paper; the others are its comparisons.</source>
      <translation>RA-U-Net ist das Netz der Veröffentlichung; die anderen sind ihre Vergleichsnetze.</translation>
    </message>
    <message>
      <source>Epochs:</source>
      <translation>Epochen:</translation>
    </message>
    <message>
      <source>Passes over the training slices.</source>
      <translation>Durchgänge durch die Trainingsschichten.</translation>
    </message>
    <message>
      <source>Batch:</source>
      <translation>Batch:</translation>
    </message>
    <message>
      <source>Slices per update: fewer need less memory.</source>
      <translation>Schichten je Schritt: weniger brauchen weniger Speicher.</translation>
    </message>
    <message>
      <source>Device:</source>
      <translation>Gerät:</translation>
    </message>
    <message>
      <source>Training on a processor takes days for a large data set.</source>
      <translation>Auf einem Prozessor dauert das Training großer Datensätze Tage.</translation>
    </message>
    <message>
      <source>Augment the slices</source>
      <translation>Schichten variieren</translation>
    </message>
    <message>
      <source>Rotation, scale, bending and contrast. Helps when there are few cases. The paper trained without it.</source>
      <translation>Drehung, Größe, Biegung und Kontrast (Augmentierung). Hilft bei wenigen Fällen. Die Veröffentlichung trainierte ohne.</translation>
    </message>
    <message>
      <source>Further:</source>
      <translation>Weitere:</translation>
    </message>
    <message>
      <source>Any other setting of the trainer: NAME=VALUE, separated by blanks.</source>
      <translation>Jede andere Einstellung des Trainings: NAME=WERT, durch Leerzeichen getrennt.</translation>
    </message>
    <message>
      <source>crop.size=128 patience=5</source>
      <translation>crop.size=128 patience=5</translation>
    </message>
    <message>
      <source>3. Learning rate</source>
      <translation>3. Lernrate</translation>
    </message>
    <message>
      <source>Range test:</source>
      <translation>Bereichstest:</translation>
    </message>
    <message>
      <source>Length of the range test in updates, at least 300.</source>
      <translation>Länge des Bereichstests in Schritten, mindestens 300.</translation>
    </message>
    <message>
      <source>two epochs</source>
      <translation>zwei Epochen</translation>
    </message>
    <message>
      <source>Find the bounds</source>
      <translation>Grenzen finden</translation>
    </message>
    <message>
      <source>Loss over the learning rate. Dashed: the two bounds.</source>
      <translation>Verlust (Loss) über der Lernrate. Gestrichelt: die beiden Grenzen.</translation>
    </message>
    <message>
      <source>Bounds:</source>
      <translation>Grenzen:</translation>
    </message>
    <message>
      <source>Lower bound of the cyclical rate.</source>
      <translation>Untere Grenze der zyklischen Lernrate.</translation>
    </message>
    <message>
      <source>Upper bound of the cyclical rate.</source>
      <translation>Obere Grenze der zyklischen Lernrate.</translation>
    </message>
    <message>
      <source>4. Training</source>
      <translation>4. Training</translation>
    </message>
    <message>
      <source>Train</source>
      <translation>Trainieren</translation>
    </message>
    <message>
      <source>Resume</source>
      <translation>Fortsetzen</translation>
    </message>
    <message>
      <source>Continue the run in this folder where it was stopped.</source>
      <translation>Den Lauf in diesem Ordner dort fortsetzen, wo er angehalten wurde.</translation>
    </message>
    <message>
      <source>For each epoch: training loss, loss, Dice and Matthews correlation of the held-out patients, learning rate.</source>
      <translation>Je Epoche: Verlust im Training; Verlust, Dice und Matthews-Korrelation der zurückgehaltenen Patienten; Lernrate.</translation>
    </message>
    <message>
      <source>5. Result</source>
      <translation>5. Ergebnis</translation>
    </message>
    <message>
      <source>Evaluate</source>
      <translation>Auswerten</translation>
    </message>
    <message>
      <source>Use this model</source>
      <translation>Modell verwenden</translation>
    </message>
    <message>
      <source>Put the best model of this run into the list of models.</source>
      <translation>Das beste Modell dieses Laufs in die Liste der Modelle aufnehmen.</translation>
    </message>
    <message>
      <source>Open the run folder</source>
      <translation>Laufordner öffnen</translation>
    </message>
    <message>
      <source>Show the folder of the run in the system’s file browser.</source>
      <translation>Den Laufordner im Dateimanager des Systems zeigen.</translation>
    </message>
    <message>
      <source>Copy report</source>
      <translation>Bericht kopieren</translation>
    </message>
    <message>
      <source>Copy what happened, to ask for help. It contains no patient data.</source>
      <translation>Kopieren, was geschehen ist, um Hilfe zu bekommen. Enthält keine Patientendaten.</translation>
    </message>
    <message>
      <source>Research use, not for diagnosis. Nothing is sent anywhere.</source>
      <translation>Nur für die Forschung, nicht zur Diagnose. Nichts wird versendet.</translation>
    </message>
    <message>
      <source>Spinal Cord Segmentation Trainer</source>
      <translation>Rückenmark-Segmentierung: Training</translation>
    </message>
    <message>
      <source>Trains a network of your own for Spinal Cord Segmentation from images and label maps (as ITK-SNAP or Slicer write them): checks the cases, finds the learning rate, trains, evaluates. Nothing leaves this computer.</source>
      <translation>Trainiert ein eigenes Netz für Spinal Cord Segmentation aus Bildern und Label-Karten (wie ITK-SNAP oder Slicer sie schreiben): prüft die Fälle, findet die Lernrate, trainiert, wertet aus. Nichts verlässt diesen Rechner.</translation>
    </message>
    <message>
      <source>After Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4.</source>
      <translation>Nach Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4.</translation>
    </message>
    <message>
      <source>Tutorials and documentation</source>
      <translation>Anleitungen und Dokumentation</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegTrainerWidgets.main_widget</name>
    <message>
      <source>{usable} of {cases} cases can be used: {patients}, {slices} slices with cord.</source>
      <translation>{usable} von {cases} Fällen verwendbar: {patients}, {slices} Schichten mit Rückenmark.</translation>
    </message>
    <message>
      <source>Cases: {done} of {of}</source>
      <translation>Fälle: {done} von {of}</translation>
    </message>
    <message>
      <source>Range test: {done} of {of} updates</source>
      <translation>Bereichstest: {done} von {of} Schritten</translation>
    </message>
    <message>
      <source>Training: {done} of {of} updates</source>
      <translation>Training: {done} von {of} Schritten</translation>
    </message>
    <message>
      <source>{cases}: Dice per slice {dice}, MCC {mcc:.3f}
Area error per slice {area} %</source>
      <translation>{cases}: Dice je Schicht {dice}, MCC {mcc:.3f}
Flächenfehler je Schicht {area} %</translation>
    </message>
    <message>
      <source>ok</source>
      <translation>in Ordnung</translation>
    </message>
    <message>
      <source>1 patient</source>
      <translation>1 Patient</translation>
    </message>
    <message>
      <source>Check the cases</source>
      <translation>Fälle prüfen</translation>
    </message>
    <message>
      <source>Read every image and label map and list which can be used.</source>
      <translation>Jedes Bild und jede Label-Karte lesen und auflisten, welche verwendbar sind.</translation>
    </message>
    <message>
      <source>Find the bounds</source>
      <translation>Grenzen finden</translation>
    </message>
    <message>
      <source>Raise the rate from 1e-7 to 1, twice, and see where the loss falls.</source>
      <translation>Die Lernrate zweimal von 1e-7 auf 1 erhöhen und sehen, wo der Verlust fällt.</translation>
    </message>
    <message>
      <source>Train</source>
      <translation>Trainieren</translation>
    </message>
    <message>
      <source>Train until all epochs are done, or validation gets no better.</source>
      <translation>Trainieren, bis alle Epochen durchlaufen sind oder die Validierung nicht mehr besser wird.</translation>
    </message>
    <message>
      <source>Evaluate</source>
      <translation>Auswerten</translation>
    </message>
    <message>
      <source>Score the best model on the patients that were held out.</source>
      <translation>Das beste Modell an den zurückgehaltenen Patienten bewerten.</translation>
    </message>
    <message>
      <source>1 held-out case</source>
      <translation>1 zurückgehaltener Fall</translation>
    </message>
    <message>
      <source>not known</source>
      <translation>nicht bekannt</translation>
    </message>
    <message>
      <source>“Resample label maps”</source>
      <translation>„Label-Karten umrechnen“</translation>
    </message>
    <message>
      <source>A learning rate is a number above 0, for example 1e-5.</source>
      <translation>Eine Lernrate ist eine Zahl über 0, zum Beispiel 1e-5.</translation>
    </message>
    <message>
      <source>The lower learning rate must not be above the upper one.</source>
      <translation>Die untere Lernrate darf nicht über der oberen liegen.</translation>
    </message>
    <message>
      <source>Choose the folder of images and label maps first.</source>
      <translation>Zuerst den Ordner mit Bildern und Label-Karten wählen.</translation>
    </message>
    <message>
      <source>There is no trained model in the run folder yet.</source>
      <translation>Im Laufordner ist noch kein trainiertes Modell.</translation>
    </message>
    <message>
      <source>Check the cases first.</source>
      <translation>Zuerst die Fälle prüfen.</translation>
    </message>
    <message>
      <source>At least two patients are needed: one to train on, one to validate.</source>
      <translation>Mindestens zwei Patienten sind nötig: einer zum Trainieren, einer zum Validieren.</translation>
    </message>
    <message>
      <source>Choose a folder for the run first.</source>
      <translation>Zuerst einen Laufordner wählen.</translation>
    </message>
    <message>
      <source>This folder holds a run already: resume it, or choose another folder.</source>
      <translation>Dieser Ordner enthält schon einen Lauf: fortsetzen oder einen anderen Ordner wählen.</translation>
    </message>
    <message>
      <source>End after this update and save: the run can be resumed. Press again to end it unsaved.</source>
      <translation>Nach diesem Schritt enden und sichern: Der Lauf kann fortgesetzt werden. Erneut drücken, um ohne Sichern zu enden.</translation>
    </message>
    <message>
      <source>Cancelling…</source>
      <translation>Wird abgebrochen…</translation>
    </message>
    <message>
      <source>Stopping after this update, then saving…</source>
      <translation>Hält nach diesem Schritt an, sichert dann…</translation>
    </message>
    <message>
      <source>Starting PyTorch…</source>
      <translation>PyTorch wird gestartet…</translation>
    </message>
    <message>
      <source>Cannot be used: {reason}</source>
      <translation>Nicht verwendbar: {reason}</translation>
    </message>
    <message>
      <source>{case}, patient {subject}</source>
      <translation>{case}, Patient {subject}</translation>
    </message>
    <message>
      <source>{n} patients</source>
      <translation>{n} Patienten</translation>
    </message>
    <message>
      <source>{n} held-out cases</source>
      <translation>{n} zurückgehaltene Fälle</translation>
    </message>
    <message>
      <source>Case</source>
      <translation>Fall</translation>
    </message>
    <message>
      <source>Slices</source>
      <translation>Schichten</translation>
    </message>
    <message>
      <source>mm²</source>
      <translation>mm²</translation>
    </message>
    <message>
      <source>Verdict</source>
      <translation>Ergebnis</translation>
    </message>
    <message>
      <source>Wait until the run has ended, or stop it.</source>
      <translation>Warten, bis der Lauf endet, oder anhalten.</translation>
    </message>
    <message>
      <source>Stop at once</source>
      <translation>Sofort anhalten</translation>
    </message>
    <message>
      <source>Stop</source>
      <translation>Anhalten</translation>
    </message>
    <message>
      <source>Cancelled.</source>
      <translation>Abgebrochen.</translation>
    </message>
    <message>
      <source>Stopped and saved; Resume continues from here.</source>
      <translation>Angehalten und gesichert; Fortsetzen macht hier weiter.</translation>
    </message>
    <message>
      <source>The model “{name}” can now be chosen in Spinal Cord Segmentation.</source>
      <translation>Das Modell „{name}“ steht nun in Spinal Cord Segmentation zur Wahl.</translation>
    </message>
    <message>
      <source>Image: {grid}</source>
      <translation>Bild: {grid}</translation>
    </message>
    <message>
      <source>Labels found: {labels}</source>
      <translation>Gefundene Labels: {labels}</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Abbrechen</translation>
    </message>
    <message>
      <source>End it now.</source>
      <translation>Jetzt beenden.</translation>
    </message>
    <message>
      <source>{text}, loss {loss:.3f}</source>
      <translation>{text}, Verlust {loss:.3f}</translation>
    </message>
    <message>
      <source>Images and label maps</source>
      <translation>Bilder und Label-Karten</translation>
    </message>
    <message>
      <source>Folder for the run</source>
      <translation>Laufordner</translation>
    </message>
    <message>
      <source>Training ended: {reason}.</source>
      <translation>Training beendet: {reason}.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegTrainerWidgets.pytorch</name>
    <message>
      <source>Safetensors is needed to train, and is not installed.</source>
      <translation>Safetensors wird zum Trainieren gebraucht und ist nicht installiert.</translation>
    </message>
    <message>
      <source>PyTorch is removed and downloaded anew (0.2 to 3 GB). Other extensions may use it too. Go on?</source>
      <translation>PyTorch wird entfernt und neu heruntergeladen (0,2 bis 3 GB). Andere Erweiterungen brauchen es vielleicht auch. Fortfahren?</translation>
    </message>
    <message>
      <source>PyTorch is needed to train, and is not installed. It is a download of 0.2 to 3 GB.</source>
      <translation>PyTorch wird zum Trainieren gebraucht und ist nicht installiert. Der Download hat 0,2 bis 3 GB.</translation>
    </message>
    <message>
      <source>Nothing was changed.</source>
      <translation>Nichts wurde geändert.</translation>
    </message>
    <message>
      <source>PyTorch was not installed. See the Python console (View menu).</source>
      <translation>PyTorch wurde nicht installiert. Siehe Python-Konsole (Menü View).</translation>
    </message>
    <message>
      <source>PyTorch is installed.</source>
      <translation>PyTorch ist installiert.</translation>
    </message>
    <message>
      <source>PyTorch is replaced: restart Slicer.</source>
      <translation>PyTorch ist ersetzt: Slicer neu starten.</translation>
    </message>
    <message>
      <source>Install PyTorch…</source>
      <translation>PyTorch installieren…</translation>
    </message>
    <message>
      <source>Replace PyTorch…</source>
      <translation>PyTorch ersetzen…</translation>
    </message>
    <message>
      <source>Install the extension “PyTorch” first: View menu, Extensions Manager, search for PyTorch. Restart Slicer and come back here.</source>
      <translation>Zuerst die Erweiterung „PyTorch“ installieren: Menü View, Extensions Manager, nach PyTorch suchen. Slicer neu starten und hierher zurückkehren.</translation>
    </message>
    <message>
      <source>PyTorch {version} does not fit: {wanted} is needed.</source>
      <translation>PyTorch {version} passt nicht: {wanted} wird gebraucht.</translation>
    </message>
  </context>
</TS>
