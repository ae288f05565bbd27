<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="es" sourcelanguage="en-US">
  <context>
    <name>SpinalCordSeg</name>
    <message>
      <source>Work list: folder of results…</source>
      <translation>Lista: carpeta de resultados…</translation>
    </message>
    <message>
      <source>Take case after case out of a folder with one result folder for each case, as segment writes it.</source>
      <translation>Abrir caso tras caso de una carpeta con una carpeta de resultados por caso, como la escribe segment.</translation>
    </message>
    <message>
      <source>Work list</source>
      <translation>Lista de trabajo</translation>
    </message>
    <message>
      <source>Click a row to open that case.</source>
      <translation>Pulse una fila para abrir ese caso.</translation>
    </message>
    <message>
      <source>◀ Previous case</source>
      <translation>◀ Anterior</translation>
    </message>
    <message>
      <source>Save this case and open the one before it in the list.</source>
      <translation>Guardar este caso y abrir el anterior de la lista.</translation>
    </message>
    <message>
      <source>Next case ▶</source>
      <translation>Siguiente ▶</translation>
    </message>
    <message>
      <source>Save this case and open the next one that is neither accepted nor rejected.</source>
      <translation>Guardar este caso y abrir el siguiente que no esté aceptado ni rechazado.</translation>
    </message>
    <message>
      <source>Folder of images…</source>
      <translation>Carpeta de imágenes…</translation>
    </message>
    <message>
      <source>Folder with the images of these cases, whatever their names and formats.</source>
      <translation>Carpeta con las imágenes de estos casos, sea cual sea su nombre y formato.</translation>
    </message>
    <message>
      <source>Store this case</source>
      <translation>Guardar este caso</translation>
    </message>
    <message>
      <source>Save mask, measures and decision in the case’s folder. Happens automatically when you open another case.</source>
      <translation>Guardar máscara, medidas y decisión en la carpeta del caso. Se hace solo al abrir otro caso.</translation>
    </message>
    <message>
      <source>Segment</source>
      <translation>Segmentar</translation>
    </message>
    <message>
      <source>Volume:</source>
      <translation>Volumen:</translation>
    </message>
    <message>
      <source>T1-weighted MR volume, in any orientation.</source>
      <translation>Volumen de RM potenciado en T1, en cualquier orientación.</translation>
    </message>
    <message>
      <source>Model and device</source>
      <translation>Modelo y dispositivo</translation>
    </message>
    <message>
      <source>Model:</source>
      <translation>Modelo:</translation>
    </message>
    <message>
      <source>The network that finds the cord. Yours are in the list too.</source>
      <translation>La red que encuentra la médula. Las suyas también están en la lista.</translation>
    </message>
    <message>
      <source>…</source>
      <translation>…</translation>
    </message>
    <message>
      <source>Add a model from a file: it is copied into the folder of your own models.</source>
      <translation>Añadir un modelo desde un archivo: se copia en la carpeta de sus modelos.</translation>
    </message>
    <message>
      <source>Device:</source>
      <translation>Dispositivo:</translation>
    </message>
    <message>
      <source>Automatic uses the graphics card if there is one that works, otherwise the processor.</source>
      <translation>Automático usa la tarjeta gráfica si hay una que funcione; si no, el procesador.</translation>
    </message>
    <message>
      <source>Replace my last result</source>
      <translation>Reemplazar mi último resultado</translation>
    </message>
    <message>
      <source>Remove the last result of this volume when there is a new one. A mask that somebody corrected or reviewed always stays.</source>
      <translation>Quitar el último resultado de este volumen cuando haya uno nuevo. Una máscara corregida o revisada se conserva siempre.</translation>
    </message>
    <message>
      <source>Packages</source>
      <translation>Paquetes</translation>
    </message>
    <message>
      <source>Versions of what is installed beside Slicer; install again, or from a folder of wheels where this computer has no way to the internet.</source>
      <translation>Versiones de lo instalado junto a Slicer; reinstalar, o instalar desde una carpeta de wheels si este equipo no tiene internet.</translation>
    </message>
    <message>
      <source>Apply</source>
      <translation>Aplicar</translation>
    </message>
    <message>
      <source>Copy report</source>
      <translation>Copiar informe de error</translation>
    </message>
    <message>
      <source>Copy what happened, to ask for help. It contains no patient data.</source>
      <translation>Copiar lo ocurrido para pedir ayuda. No contiene datos del paciente.</translation>
    </message>
    <message>
      <source>Mask:</source>
      <translation>Máscara:</translation>
    </message>
    <message>
      <source>The current mask: all sections work on it. Any segmentation can be measured.</source>
      <translation>La máscara actual: todas las secciones trabajan con ella. Se puede medir cualquier segmentación.</translation>
    </message>
    <message>
      <source>Segment:</source>
      <translation>Segmento:</translation>
    </message>
    <message>
      <source>The segment that is the cord.</source>
      <translation>El segmento que es la médula.</translation>
    </message>
    <message>
      <source>Measure this mask</source>
      <translation>Medir esta máscara</translation>
    </message>
    <message>
      <source>Measure volume, length and areas of this mask. No model is needed.</source>
      <translation>Medir volumen, longitud y áreas de esta máscara. No hace falta ningún modelo.</translation>
    </message>
    <message>
      <source>Cord volume:</source>
      <translation>Volumen medular:</translation>
    </message>
    <message>
      <source>Length:</source>
      <translation>Longitud:</translation>
    </message>
    <message>
      <source>Mean area:</source>
      <translation>Área media:</translation>
    </message>
    <message>
      <source>Flagged slices:</source>
      <translation>Cortes señalados:</translation>
    </message>
    <message>
      <source>Cross-sectional area along the cord, from inferior (left) to superior (right). Dots: flagged slices. Click to go to a slice.</source>
      <translation>Área de sección transversal a lo largo de la médula, de caudal (izquierda) a craneal (derecha). Puntos: cortes señalados. Pulse para ir a un corte.</translation>
    </message>
    <message>
      <source>Show 3D</source>
      <translation>Mostrar 3D</translation>
    </message>
    <message>
      <source>Show the surface of the mask in the 3D view.</source>
      <translation>Mostrar la superficie de la máscara en la vista 3D.</translation>
    </message>
    <message>
      <source>Review and correct</source>
      <translation>Revisar y corregir</translation>
    </message>
    <message>
      <source>Worst first. Click a row to go to that slice.</source>
      <translation>Primero el peor. Pulse una fila para ir a ese corte.</translation>
    </message>
    <message>
      <source>◀</source>
      <translation>◀</translation>
    </message>
    <message>
      <source>Go to the slice before it in the list (Ctrl+Up).</source>
      <translation>Ir al corte anterior de la lista (Ctrl+Arriba).</translation>
    </message>
    <message>
      <source>Ctrl+Up</source>
      <translation>Ctrl+Up</translation>
    </message>
    <message>
      <source>Next ▶</source>
      <translation>Siguiente ▶</translation>
    </message>
    <message>
      <source>Mark this slice as seen and go to the worst one that nobody has seen (Ctrl+Down).</source>
      <translation>Marcar este corte como visto e ir al peor que nadie ha visto (Ctrl+Abajo).</translation>
    </message>
    <message>
      <source>Ctrl+Down</source>
      <translation>Ctrl+Down</translation>
    </message>
    <message>
      <source>Seen</source>
      <translation>Visto</translation>
    </message>
    <message>
      <source>Mark the current slice as seen, or as not seen.</source>
      <translation>Marcar el corte actual como visto o no visto.</translation>
    </message>
    <message>
      <source>Slices</source>
      <translation>Cortes</translation>
    </message>
    <message>
      <source>First slice to change, numbered as in the volume.</source>
      <translation>Primer corte que cambiar, numerado como en el volumen.</translation>
    </message>
    <message>
      <source>–</source>
      <translation>–</translation>
    </message>
    <message>
      <source>Last slice to change.</source>
      <translation>Último corte que cambiar.</translation>
    </message>
    <message>
      <source>Current slice</source>
      <translation>Corte actual</translation>
    </message>
    <message>
      <source>Use the slice that the axial view shows.</source>
      <translation>Usar el corte que muestra la vista axial.</translation>
    </message>
    <message>
      <source>Re-run AI</source>
      <translation>Repetir IA</translation>
    </message>
    <message>
      <source>Segment these slices again.</source>
      <translation>Segmentar de nuevo estos cortes.</translation>
    </message>
    <message>
      <source>Fill between</source>
      <translation>Interpolar</translation>
    </message>
    <message>
      <source>Redraw these slices from the two slices beside them.</source>
      <translation>Redibujar estos cortes a partir de los dos contiguos.</translation>
    </message>
    <message>
      <source>Smooth</source>
      <translation>Suavizar</translation>
    </message>
    <message>
      <source>Smooth steps between these slices; their area stays.</source>
      <translation>Suavizar los escalones entre estos cortes; su área se conserva.</translation>
    </message>
    <message>
      <source>Earlier masks</source>
      <translation>Anteriores</translation>
    </message>
    <message>
      <source>Save the mask in a folder of your own while you correct it, at most 30 s after a stroke; restore one of these, or a version that the case folder keeps.</source>
      <translation>Guardar la máscara en una carpeta propia mientras se corrige, como mucho 30 s después de un trazo; restaurar una de ellas o una versión de la carpeta del caso.</translation>
    </message>
    <message>
      <source>Undo</source>
      <translation>Deshacer</translation>
    </message>
    <message>
      <source>Take back the last change of the mask.</source>
      <translation>Deshacer el último cambio de la máscara.</translation>
    </message>
    <message>
      <source>Redo</source>
      <translation>Rehacer</translation>
    </message>
    <message>
      <source>Make the change again that Undo took back.</source>
      <translation>Repetir el cambio deshecho.</translation>
    </message>
    <message>
      <source>Reviewer:</source>
      <translation>Revisor:</translation>
    </message>
    <message>
      <source>your name</source>
      <translation>su nombre</translation>
    </message>
    <message>
      <source>Saved in Slicer’s settings and with every decision.</source>
      <translation>Se guarda en los ajustes de Slicer y con cada decisión.</translation>
    </message>
    <message>
      <source>Note:</source>
      <translation>Nota:</translation>
    </message>
    <message>
      <source>for the next reader</source>
      <translation>para quien siga</translation>
    </message>
    <message>
      <source>Saved with the case. Never a patient’s name.</source>
      <translation>Se guarda con el caso. Nunca el nombre del paciente.</translation>
    </message>
    <message>
      <source>Accept</source>
      <translation>Aceptar</translation>
    </message>
    <message>
      <source>The mask is right (Ctrl+Return). Your name and the time are saved with it.</source>
      <translation>La máscara es correcta (Ctrl+Intro). Se guardan su nombre y la hora.</translation>
    </message>
    <message>
      <source>Reject</source>
      <translation>Rechazar</translation>
    </message>
    <message>
      <source>The case cannot be used.</source>
      <translation>El caso no se puede usar.</translation>
    </message>
    <message>
      <source>To correct</source>
      <translation>Por corregir</translation>
    </message>
    <message>
      <source>The mask needs a correction later: the case stays open in the work list.</source>
      <translation>La máscara se corregirá más tarde: el caso queda abierto en la lista.</translation>
    </message>
    <message>
      <source>Reopen</source>
      <translation>Reabrir</translation>
    </message>
    <message>
      <source>Take the decision back.</source>
      <translation>Retirar la decisión.</translation>
    </message>
    <message>
      <source>History</source>
      <translation>Historial</translation>
    </message>
    <message>
      <source>Training set</source>
      <translation>Datos de entrenamiento</translation>
    </message>
    <message>
      <source>subject code</source>
      <translation>código del sujeto</translation>
    </message>
    <message>
      <source>Letters and digits, the same for all cases of a person. Never a name.</source>
      <translation>Letras y cifras, iguales en todos los casos de una persona. Nunca un nombre.</translation>
    </message>
    <message>
      <source>Add to training set…</source>
      <translation>Añadir al entrenamiento…</translation>
    </message>
    <message>
      <source>Writes image and label map as ITK-SNAP does. The model can learn from them: the button below.</source>
      <translation>Escribe imagen y mapa de etiquetas como ITK-SNAP. El modelo puede aprender de ellos: botón de abajo.</translation>
    </message>
    <message>
      <source>Replace earlier mask</source>
      <translation>Reemplazar máscara anterior</translation>
    </message>
    <message>
      <source>Replace the mask of an image that is already there; otherwise it keeps its own.</source>
      <translation>Reemplazar la máscara de una imagen ya presente; si no, conserva la suya.</translation>
    </message>
    <message>
      <source>Learn from my corrections…</source>
      <translation>Aprender de mis correcciones…</translation>
    </message>
    <message>
      <source>Teach the chosen model the cases of a training set, in minutes. A better model comes into the list of models.</source>
      <translation>Enseñar al modelo elegido los casos de entrenamiento, en minutos. Un modelo mejor pasa a la lista.</translation>
    </message>
    <message>
      <source>Levels and measures</source>
      <translation>Niveles y medidas</translation>
    </message>
    <message>
      <source>Click a row to go to that slice in the views.</source>
      <translation>Pulse una fila para ir a ese corte en las vistas.</translation>
    </message>
    <message>
      <source>Plot and table</source>
      <translation>Gráfica y tabla</translation>
    </message>
    <message>
      <source>Show the full table and the plot in the views.</source>
      <translation>Mostrar la tabla completa y la gráfica en las vistas.</translation>
    </message>
    <message>
      <source>Mark disc C2/C3</source>
      <translation>Marcar disco C2/C3</translation>
    </message>
    <message>
      <source>Press, then click into the disc in a view.</source>
      <translation>Pulse y haga clic en el disco en una vista.</translation>
    </message>
    <message>
      <source>✕</source>
      <translation>✕</translation>
    </message>
    <message>
      <source>Remove this mark.</source>
      <translation>Quitar esta marca.</translation>
    </message>
    <message>
      <source>Mark disc C7/T1</source>
      <translation>Marcar disco C7/T1</translation>
    </message>
    <message>
      <source>Around C2/C3:</source>
      <translation>Alrededor de C2/C3:</translation>
    </message>
    <message>
      <source>Mean area within this distance of the disc, along the cord.</source>
      <translation>Área media a esta distancia del disco, a lo largo de la médula.</translation>
    </message>
    <message>
      <source>not measured</source>
      <translation>no medir</translation>
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
      <translation>Edad:</translation>
    </message>
    <message>
      <source>To compare C2 with healthy adults. It is not saved.</source>
      <translation>Para comparar C2 con adultos sanos. No se guarda.</translation>
    </message>
    <message>
      <source>not given</source>
      <translation>sin indicar</translation>
    </message>
    <message>
      <source> years</source>
      <translation> años</translation>
    </message>
    <message>
      <source>Sex:</source>
      <translation>Sexo:</translation>
    </message>
    <message>
      <source>T1w, corrected in 3D</source>
      <translation>T1, corregido en 3D</translation>
    </message>
    <message>
      <source>T1-weighted, and corrected for distortion in 3D. Tick it only if you know it. Without both, the area cannot be compared with healthy adults.</source>
      <translation>Potenciado en T1 y con corrección de distorsión en 3D. Márquelo solo si lo sabe. Sin ambas cosas, el área no se puede comparar con adultos sanos.</translation>
    </message>
    <message>
      <source>Follow-up</source>
      <translation>Seguimiento</translation>
    </message>
    <message>
      <source>One row for each visit. Type the day as YYYY-MM-DD.</source>
      <translation>Una fila por visita. Escriba el día como AAAA-MM-DD.</translation>
    </message>
    <message>
      <source>Add this mask</source>
      <translation>Añadir esta máscara</translation>
    </message>
    <message>
      <source>Add the current mask as a visit.</source>
      <translation>Añadir la máscara actual como visita.</translation>
    </message>
    <message>
      <source>Add result folder…</source>
      <translation>Añadir carpeta…</translation>
    </message>
    <message>
      <source>Add the result folder of one case, as segment or measure wrote it.</source>
      <translation>Añadir la carpeta de resultados de un caso, como la escribió segment o measure.</translation>
    </message>
    <message>
      <source>Remove visit</source>
      <translation>Quitar visita</translation>
    </message>
    <message>
      <source>Remove the chosen visit from the list.</source>
      <translation>Quitar de la lista la visita elegida.</translation>
    </message>
    <message>
      <source>Compare in linked views</source>
      <translation>Comparar en vistas</translation>
    </message>
    <message>
      <source>The chosen visit above, the current mask below, at the same level. Position and zoom are linked. Press again to go back.</source>
      <translation>Arriba la visita elegida, abajo la máscara actual, al mismo nivel. Posición y zoom van unidos. Pulse otra vez para volver.</translation>
    </message>
    <message>
      <source>Person:</source>
      <translation>Persona:</translation>
    </message>
    <message>
      <source>person</source>
      <translation>persona</translation>
    </message>
    <message>
      <source>A code, never a name: it is written into the results.</source>
      <translation>Un código, nunca un nombre: aparece en los resultados.</translation>
    </message>
    <message>
      <source>At the first visit, for the range of healthy adults. It is not saved.</source>
      <translation>En la primera visita, para el rango de adultos sanos. No se guarda.</translation>
    </message>
    <message>
      <source>Write dates</source>
      <translation>Escribir fechas</translation>
    </message>
    <message>
      <source>Otherwise only the time between visits is written.</source>
      <translation>Si no, solo se escribe el tiempo entre visitas.</translation>
    </message>
    <message>
      <source>Compare over time</source>
      <translation>Comparar en el tiempo</translation>
    </message>
    <message>
      <source>Compare the visits on the part of the cord that all of them cover.</source>
      <translation>Comparar las visitas en el tramo de médula que todas cubren.</translation>
    </message>
    <message>
      <source>Mean area of the part that all visits cover. Bars: repeatability of the measurement. Green: healthy adults. Red: not comparable.</source>
      <translation>Área media del tramo común. Barras: repetibilidad de la medida. Verde: adultos sanos. Rojo: no comparable.</translation>
    </message>
    <message>
      <source>Export…</source>
      <translation>Exportar…</translation>
    </message>
    <message>
      <source>Save the follow-up as CSV, JSON and HTML in a new folder.</source>
      <translation>Guardar el seguimiento como CSV, JSON y HTML en una carpeta nueva.</translation>
    </message>
    <message>
      <source>Export</source>
      <translation>Exportar</translation>
    </message>
    <message>
      <source>Copy as report text</source>
      <translation>Copiar texto del informe</translation>
    </message>
    <message>
      <source>Copy one sentence with numbers, units and limits to the clipboard.</source>
      <translation>Copiar al portapapeles una frase con cifras, unidades y límites.</translation>
    </message>
    <message>
      <source>Save mask (NIfTI), measures (CSV, JSON), page and pictures in a new folder, as the command line does.</source>
      <translation>Guardar máscara (NIfTI), medidas (CSV, JSON), página e imágenes en una carpeta nueva, como la línea de órdenes.</translation>
    </message>
    <message>
      <source>DICOM objects of the study:</source>
      <translation>Objetos DICOM del estudio:</translation>
    </message>
    <message>
      <source>Mask</source>
      <translation>Máscara</translation>
    </message>
    <message>
      <source>DICOM segmentation (SEG)</source>
      <translation>Segmentación DICOM (SEG)</translation>
    </message>
    <message>
      <source>Measures</source>
      <translation>Medidas</translation>
    </message>
    <message>
      <source>Structured report (TID 1500)</source>
      <translation>Informe estructurado (TID 1500)</translation>
    </message>
    <message>
      <source>Report</source>
      <translation>Informe</translation>
    </message>
    <message>
      <source>Report page (Encapsulated PDF)</source>
      <translation>Página del informe (Encapsulated PDF)</translation>
    </message>
    <message>
      <source>A person drew this mask</source>
      <translation>La dibujó una persona</translation>
    </message>
    <message>
      <source>For a mask made elsewhere: DICOM must state who made it.</source>
      <translation>Para una máscara hecha en otro lugar: DICOM debe indicar quién la hizo.</translation>
    </message>
    <message>
      <source>Write DICOM…</source>
      <translation>Escribir DICOM…</translation>
    </message>
    <message>
      <source>Write into a folder of your choice. If Slicer’s DICOM database does not know the series, its folder is asked for first. The module DICOM imports what is written. Nothing is sent anywhere.</source>
      <translation>Escribir en una carpeta a su elección. Si la base DICOM de Slicer no conoce la serie, antes se pide su carpeta. El módulo DICOM importa lo escrito. No se envía nada.</translation>
    </message>
    <message>
      <source>Research use, not for diagnosis. Nothing is sent anywhere.</source>
      <translation>Uso en investigación, no para diagnóstico. No se envía nada.</translation>
    </message>
    <message>
      <source>Spinal Cord Segmentation</source>
      <translation>Segmentación de la médula espinal</translation>
    </message>
    <message>
      <source>Finds the cervical spinal cord in MR volumes and measures it: volume, length, cross-sectional area along the cord. Research use, not for diagnosis.</source>
      <translation>Encuentra la médula espinal cervical en volúmenes de RM y la mide: volumen, longitud, área de sección transversal. Uso en investigación, no para diagnóstico.</translation>
    </message>
    <message>
      <source>After Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4.</source>
      <translation>Según Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4.</translation>
    </message>
    <message>
      <source>Tutorials and documentation</source>
      <translation>Tutoriales y documentación</translation>
    </message>
    <message>
      <source>The run was cancelled.</source>
      <translation>La ejecución se canceló.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.current_mask</name>
    <message>
      <source>Slices corrected by hand: {n}; {added:.0f} mm³ added, {removed:.0f} mm³ removed, Dice against the AI {dice:.4f}.</source>
      <translation>Cortes corregidos a mano: {n}; {added:.0f} mm³ añadidos, {removed:.0f} mm³ quitados, Dice frente a la IA {dice:.4f}.</translation>
    </message>
    <message>
      <source>The image was changed since the mask was measured on it: look at the mask, and measure it again.</source>
      <translation>La imagen cambió desde que se midió la máscara: mire la máscara y mídala de nuevo.</translation>
    </message>
    <message>
      <source>Volume and areas are up to date; measure again for the full report.</source>
      <translation>Volumen y áreas están al día; mida de nuevo para el informe completo.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.export_section</name>
    <message>
      <source>Folder for the DICOM files</source>
      <translation>Carpeta para los archivos DICOM</translation>
    </message>
    <message>
      <source>No spinal cord was found</source>
      <translation>No se encontró médula espinal</translation>
    </message>
    <message>
      <source>1 slice flagged for review</source>
      <translation>1 corte señalado para revisión</translation>
    </message>
    <message>
      <source>mask drawn or made elsewhere, measured with SpinalCordSeg {version}</source>
      <translation>máscara dibujada o hecha en otro lugar, medida con SpinalCordSeg {version}</translation>
    </message>
    <message>
      <source>found automatically by SpinalCordSeg {version} with model {model} {model_version}</source>
      <translation>hallada automáticamente por SpinalCordSeg {version} con el modelo {model} {model_version}</translation>
    </message>
    <message>
      <source>volume depends on the coverage of the image</source>
      <translation>el volumen depende de la cobertura de la imagen</translation>
    </message>
    <message>
      <source>Research use, not for diagnosis.</source>
      <translation>Uso en investigación, no para diagnóstico.</translation>
    </message>
    <message>
      <source>not reported</source>
      <translation>no indicado</translation>
    </message>
    <message>
      <source>Save {name}…</source>
      <translation>Guardar {name}…</translation>
    </message>
    <message>
      <source>DICOM of {name}…</source>
      <translation>DICOM de {name}…</translation>
    </message>
    <message>
      <source>mask corrected by hand</source>
      <translation>máscara corregida a mano</translation>
    </message>
    <message>
      <source>Measure the mask first.</source>
      <translation>Mida primero la máscara.</translation>
    </message>
    <message>
      <source>The report says that a model made the mask.</source>
      <translation>El informe dice que la máscara la hizo un modelo.</translation>
    </message>
    <message>
      <source>Folder of the DICOM series that the volume was made from</source>
      <translation>Carpeta de la serie DICOM de la que procede el volumen</translation>
    </message>
    <message>
      <source>Replace {names}?</source>
      <translation>¿Reemplazar {names}?</translation>
    </message>
    <message>
      <source>Written: {names}.</source>
      <translation>Escrito: {names}.</translation>
    </message>
    <message>
      <source>Choose what to write.</source>
      <translation>Elija qué escribir.</translation>
    </message>
    <message>
      <source>Spinal cord volume {volume}, over a length of {length} ({n} slices), mean area {area}</source>
      <translation>Volumen medular {volume} en una longitud de {length} ({n} cortes), área media {area}</translation>
    </message>
    <message>
      <source>{n} slices flagged for review</source>
      <translation>{n} cortes señalados para revisión</translation>
    </message>
    <message>
      <source>The report text of {name} is on the clipboard.</source>
      <translation>El texto del informe de {name} está en el portapapeles.</translation>
    </message>
    <message>
      <source>Where to put the case folder</source>
      <translation>Dónde poner la carpeta del caso</translation>
    </message>
    <message>
      <source>Saved: {name}.</source>
      <translation>Guardado: {name}.</translation>
    </message>
    <message>
      <source>Nothing was written: {name} exists already.</source>
      <translation>No se escribió nada: {name} ya existe.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.followup_section</name>
    <message>
      <source>The disc C2/C3 was found by the program: look whether it is the same in both.</source>
      <translation>El disco C2/C3 lo encontró el programa: compruebe que sea el mismo en ambas.</translation>
    </message>
    <message>
      <source> in doubt</source>
      <translation> (dudoso)</translation>
    </message>
    <message>
      <source>from the images {percent:+.1f} % ± {reach:.1f} %</source>
      <translation>de las imágenes {percent:+.1f} % ± {reach:.1f} %</translation>
    </message>
    <message>
      <source>Choose a visit in the list first.</source>
      <translation>Elija primero una visita de la lista.</translation>
    </message>
    <message>
      <source>Add {name}</source>
      <translation>Añadir {name}</translation>
    </message>
    <message>
      <source>Remarks:</source>
      <translation>Observaciones:</translation>
    </message>
    <message>
      <source>Add the mask of the prior visit, and choose it in the list.</source>
      <translation>Añada la máscara de la visita previa y elíjala en la lista.</translation>
    </message>
    <message>
      <source>Both masks need their volume in the scene.</source>
      <translation>Ambas máscaras necesitan su volumen en la escena.</translation>
    </message>
    <message>
      <source>Visit</source>
      <translation>Visita</translation>
    </message>
    <message>
      <source>YYYY-MM-DD</source>
      <translation>AAAA-MM-DD</translation>
    </message>
    <message>
      <source>Disc
C2/C3</source>
      <translation>Disco
C2/C3</translation>
    </message>
    <message>
      <source>Years</source>
      <translation>Años</translation>
    </message>
    <message>
      <source>Area
mm²</source>
      <translation>Área
mm²</translation>
    </message>
    <message>
      <source>Change / MDC</source>
      <translation>Cambio / MDC</translation>
    </message>
    <message>
      <source>marked</source>
      <translation>marcado</translation>
    </message>
    <message>
      <source>Add at least two visits.</source>
      <translation>Añada al menos dos visitas.</translation>
    </message>
    <message>
      <source>Nothing was compared yet.</source>
      <translation>Aún no se ha comparado nada.</translation>
    </message>
    <message>
      <source>IN DOUBT, so no change has a verdict: one person, at the same level?</source>
      <translation>EN DUDA, por eso ningún cambio se valora: ¿una persona, al mismo nivel?</translation>
    </message>
    <message>
      <source>NOT COMPARABLE: no yearly rate is given across these changes.</source>
      <translation>NO COMPARABLE: no se da tasa anual a través de estos cambios.</translation>
    </message>
    <message>
      <source>Compared. Not all visits are comparable.</source>
      <translation>Comparado. No todas las visitas son comparables.</translation>
    </message>
    <message>
      <source>Compared.</source>
      <translation>Comparado.</translation>
    </message>
    <message>
      <source>no change from the images: {why}</source>
      <translation>sin cambio de las imágenes: {why}</translation>
    </message>
    <message>
      <source>reported</source>
      <translation>informe</translation>
    </message>
    <message>
      <source>not yet</source>
      <translation>aún no</translation>
    </message>
    <message>
      <source>Give the day of: {names}.</source>
      <translation>Indique el día de: {names}.</translation>
    </message>
    <message>
      <source>Mark the disc C2/C3 of {names} (Levels and measures).</source>
      <translation>Marque el disco C2/C3 de {names} (Niveles y medidas).</translation>
    </message>
    <message>
      <source>Result folder of one visit</source>
      <translation>Carpeta de resultados de una visita</translation>
    </message>
    <message>
      <source>Where to put the follow-up</source>
      <translation>Dónde poner el seguimiento</translation>
    </message>
    <message>
      <source>Saved: {name}.</source>
      <translation>Guardado: {name}.</translation>
    </message>
    <message>
      <source>areas at one sharpness {percent:+.1f} %</source>
      <translation>áreas con igual nitidez {percent:+.1f} %</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.install</name>
    <message>
      <source>Download and install {names} (about {size})? They find the cord, draw figures, make page and DICOM.</source>
      <translation>¿Descargar e instalar {names} (unos {size})? Encuentran la médula, dibujan gráficas, hacen página y DICOM.</translation>
    </message>
    <message>
      <source>Packages for models, figures, report and DICOM are not installed: {names}.</source>
      <translation>Faltan paquetes para modelos, gráficas, informe y DICOM: {names}.</translation>
    </message>
    <message>
      <source>{package} is installed but does not start ({detail}). Install it again, then restart Slicer.</source>
      <translation>{package} está instalado pero no arranca ({detail}). Reinstálelo y reinicie Slicer.</translation>
    </message>
    <message>
      <source>Nothing was installed.</source>
      <translation>No se instaló nada.</translation>
    </message>
    <message>
      <source>Slicer must be restarted to use what was installed. Restart it now?</source>
      <translation>Slicer debe reiniciarse para usar lo instalado. ¿Reiniciar ahora?</translation>
    </message>
    <message>
      <source>ONNX Runtime is needed to find the cord, and is not installed. Measuring a mask works without it.</source>
      <translation>Hace falta ONNX Runtime para encontrar la médula y no está instalado. Medir una máscara funciona sin él.</translation>
    </message>
    <message>
      <source>Install packages…</source>
      <translation>Instalar paquetes…</translation>
    </message>
    <message>
      <source>Installed: {names}.</source>
      <translation>Instalado: {names}.</translation>
    </message>
    <message>
      <source>Install again…</source>
      <translation>Reinstalar…</translation>
    </message>
    <message>
      <source>Install from a folder of wheels…</source>
      <translation>Instalar desde una carpeta de wheels…</translation>
    </message>
    <message>
      <source>Not installed: {names} ({reason}). Without the internet: Model and device, Packages, a folder.</source>
      <translation>No instalado: {names} ({reason}). Sin internet: Modelo y dispositivo, Paquetes, una carpeta.</translation>
    </message>
    <message>
      <source>{package} is missing</source>
      <translation>falta {package}</translation>
    </message>
    <message>
      <source>Repair {package}…</source>
      <translation>Reparar {package}…</translation>
    </message>
    <message>
      <source>Automatic</source>
      <translation>Automático</translation>
    </message>
    <message>
      <source>Folder of wheels</source>
      <translation>Carpeta de wheels</translation>
    </message>
    <message>
      <source>not installed</source>
      <translation>no instalado</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.jobs</name>
    <message>
      <source>The run ended unexpectedly (exit code {code}). If it happens again, copy the report and ask.</source>
      <translation>La ejecución terminó de forma inesperada (código {code}). Si se repite, copie el informe y pregunte.</translation>
    </message>
    <message>
      <source>Learning: {done} of {of} updates</source>
      <translation>Aprendiendo: {done} de {of} pasos</translation>
    </message>
    <message>
      <source>Slice {done} of {of}</source>
      <translation>Corte {done} de {of}</translation>
    </message>
    <message>
      <source>The system ended the run, probably because memory ran out: close other programs (or train with a smaller batch).</source>
      <translation>El sistema terminó la ejecución, probablemente por falta de memoria: cierre otros programas (o entrene con un lote menor).</translation>
    </message>
    <message>
      <source>Starting…</source>
      <translation>Iniciando…</translation>
    </message>
    <message>
      <source>Reading the image…</source>
      <translation>Leyendo la imagen…</translation>
    </message>
    <message>
      <source>Measuring…</source>
      <translation>Midiendo…</translation>
    </message>
    <message>
      <source>Working…</source>
      <translation>Trabajando…</translation>
    </message>
    <message>
      <source>{text}, about {minutes} min left</source>
      <translation>{text}, faltan unos {minutes} min</translation>
    </message>
    <message>
      <source>{text}, about {seconds} s left</source>
      <translation>{text}, faltan unos {seconds} s</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.levels_section</name>
    <message>
      <source>two discs</source>
      <translation>dos discos</translation>
    </message>
    <message>
      <source>fitted</source>
      <translation>ajustado</translation>
    </message>
    <message>
      <source>approximate</source>
      <translation>aproximado</translation>
    </message>
    <message>
      <source>disc</source>
      <translation>disco</translation>
    </message>
    <message>
      <source>not given</source>
      <translation>sin indicar</translation>
    </message>
    <message>
      <source>female</source>
      <translation>mujer</translation>
    </message>
    <message>
      <source>male</source>
      <translation>hombre</translation>
    </message>
    <message>
      <source>Slice</source>
      <translation>Corte</translation>
    </message>
    <message>
      <source>Area
mm²</source>
      <translation>Área
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
      <translation>Señales</translation>
    </message>
    <message>
      <source>Level</source>
      <translation>Nivel</translation>
    </message>
    <message>
      <source>Covered</source>
      <translation>Cubierto</translation>
    </message>
    <message>
      <source>How</source>
      <translation>Cómo</translation>
    </message>
    <message>
      <source>Click into the disc in a sagittal view.</source>
      <translation>Haga clic en el disco en una vista sagital.</translation>
    </message>
    <message>
      <source>Measure the mask first.</source>
      <translation>Mida primero la máscara.</translation>
    </message>
    <message>
      <source>marked</source>
      <translation>marcado</translation>
    </message>
    <message>
      <source>Plot or table was deleted: measure the mask again.</source>
      <translation>Se borró la gráfica o la tabla: mida de nuevo la máscara.</translation>
    </message>
    <message>
      <source>This slice is no longer in the mask: measure the mask again.</source>
      <translation>Este corte ya no está en la máscara: mídala de nuevo.</translation>
    </message>
    <message>
      <source>found</source>
      <translation>hallado</translation>
    </message>
    <message>
      <source>not marked</source>
      <translation>sin marcar</translation>
    </message>
    <message>
      <source>click in a view…</source>
      <translation>clic en una vista…</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.main_widget</name>
    <message>
      <source>Choose a mask first (section Segment).</source>
      <translation>Elija primero una máscara (sección Segmentar).</translation>
    </message>
    <message>
      <source>Choose the segment that is the cord (section Segment).</source>
      <translation>Elija el segmento que es la médula (sección Segmentar).</translation>
    </message>
    <message>
      <source>Wait until the run has ended, or cancel it.</source>
      <translation>Espere a que termine la ejecución o cancélela.</translation>
    </message>
    <message>
      <source>The image of the mask is not in the scene.</source>
      <translation>La imagen de la máscara no está en la escena.</translation>
    </message>
    <message>
      <source>The mask was changed since it was measured: measure it first.</source>
      <translation>La máscara cambió desde que se midió: mídala primero.</translation>
    </message>
    <message>
      <source>Measure the mask first.</source>
      <translation>Mida primero la máscara.</translation>
    </message>
    <message>
      <source>The volume or the mask was deleted meanwhile: the result was not kept.</source>
      <translation>El volumen o la máscara se borró entretanto: el resultado se descartó.</translation>
    </message>
    <message>
      <source>{name} was removed from the scene: choose another one.</source>
      <translation>{name} se quitó de la escena: elija otra cosa.</translation>
    </message>
    <message>
      <source>Another mask was chosen meanwhile: nothing was done. Choose the mask, and do it again.</source>
      <translation>Mientras tanto se eligió otra máscara: no se hizo nada. Elija la máscara y repita.</translation>
    </message>
    <message>
      <source>…</source>
      <translation>…</translation>
    </message>
    <message>
      <source>{name}: measured.</source>
      <translation>{name}: medido.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.review_section</name>
    <message>
      <source>Not measured yet: nothing is flagged.</source>
      <translation>Aún sin medir: no hay señales.</translation>
    </message>
    <message>
      <source>No slice is flagged. Scroll through the mask once all the same.</source>
      <translation>Ningún corte señalado. Recorra la máscara una vez de todos modos.</translation>
    </message>
    <message>
      <source>Accept {name}</source>
      <translation>Aceptar {name}</translation>
    </message>
    <message>
      <source>Accept, though not every flagged slice was seen.</source>
      <translation>Aceptar, aunque no se vieron todos los cortes señalados.</translation>
    </message>
    <message>
      <source>Add {name}…</source>
      <translation>Añadir {name}…</translation>
    </message>
    <message>
      <source>The image of the mask is not in the scene.</source>
      <translation>La imagen de la máscara no está en la escena.</translation>
    </message>
    <message>
      <source>{mask}: slices {first} to {last} were segmented again.</source>
      <translation>{mask}: se segmentaron de nuevo los cortes {first} a {last}.</translation>
    </message>
    <message>
      <source>Only corrected or accepted masks can be trained on.</source>
      <translation>Solo se puede entrenar con máscaras corregidas o aceptadas.</translation>
    </message>
    <message>
      <source>Type a subject code of letters and digits, never a name.</source>
      <translation>Escriba un código de letras y cifras, nunca un nombre.</translation>
    </message>
    <message>
      <source>PyTorch is needed: the module Spinal Cord Segmentation Trainer installs it.</source>
      <translation>Se necesita PyTorch: lo instala el módulo Spinal Cord Segmentation Trainer.</translation>
    </message>
    <message>
      <source>Folder of the training set</source>
      <translation>Carpeta de entrenamiento</translation>
    </message>
    <message>
      <source>{left} of {all} flagged slices to look at, worst first:</source>
      <translation>{left} de {all} cortes señalados por ver, primero el peor:</translation>
    </message>
    <message>
      <source>Slice</source>
      <translation>Corte</translation>
    </message>
    <message>
      <source>Seen</source>
      <translation>Visto</translation>
    </message>
    <message>
      <source>Why</source>
      <translation>Por qué</translation>
    </message>
    <message>
      <source>When (UTC)</source>
      <translation>Cuándo (UTC)</translation>
    </message>
    <message>
      <source>What</source>
      <translation>Qué</translation>
    </message>
    <message>
      <source>Who</source>
      <translation>Quién</translation>
    </message>
    <message>
      <source>Measure the mask first.</source>
      <translation>Mida primero la máscara.</translation>
    </message>
    <message>
      <source>No slice is flagged.</source>
      <translation>Ningún corte señalado.</translation>
    </message>
    <message>
      <source>Ctrl+Return</source>
      <translation>Ctrl+Return</translation>
    </message>
    <message>
      <source>Type the reviewer’s name first.</source>
      <translation>Escriba primero el nombre del revisor.</translation>
    </message>
    <message>
      <source>Every flagged slice was looked at.</source>
      <translation>Se vieron todos los cortes señalados.</translation>
    </message>
    <message>
      <source>The mask was measured but not accepted: it changed, or another one was chosen. Accept it again.</source>
      <translation>La máscara se midió pero no se aceptó: cambió o se eligió otra. Acéptela de nuevo.</translation>
    </message>
    <message>
      <source>{who} accepted this mask. Reopen the case for your change?</source>
      <translation>{who} aceptó esta máscara. ¿Reabrir el caso para su cambio?</translation>
    </message>
    <message>
      <source>No axial view shows a slice of this volume.</source>
      <translation>Ninguna vista axial muestra un corte de este volumen.</translation>
    </message>
    <message>
      <source>The case is in the training set {name}.</source>
      <translation>El caso está en el entrenamiento {name}.</translation>
    </message>
    <message>
      <source>{state}, {who}, {day}</source>
      <translation>{state}, {who}, {day}</translation>
    </message>
    <message>
      <source>Go to a slice of the list first.</source>
      <translation>Vaya primero a un corte de la lista.</translation>
    </message>
    <message>
      <source>Nothing was decided yet.</source>
      <translation>Aún no se decidió nada.</translation>
    </message>
    <message>
      <source>This is the decision already.</source>
      <translation>Ya se decidió así.</translation>
    </message>
    <message>
      <source>nothing yet</source>
      <translation>nada aún</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.sample_data</name>
    <message>
      <source>Spinal Cord Segmentation</source>
      <translation>Segmentación de la médula espinal</translation>
    </message>
    <message>
      <source>Neck T1w</source>
      <translation>Cuello T1</translation>
    </message>
    <message>
      <source>Simulated neck</source>
      <translation>Cuello simulado</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.section</name>
    <message>
      <source>The scene says that these are of different patients. If they are of one, put them under one patient in the module Data; else choose another one.</source>
      <translation>Según la escena son de pacientes distintos. Si son de uno, póngalos bajo un mismo paciente en el módulo Data; si no, elija otro.</translation>
    </message>
    <message>
      <source>not reviewed</source>
      <translation>sin revisar</translation>
    </message>
    <message>
      <source>given</source>
      <translation>dada</translation>
    </message>
    <message>
      <source>in review</source>
      <translation>en revisión</translation>
    </message>
    <message>
      <source>to correct</source>
      <translation>por corregir</translation>
    </message>
    <message>
      <source>corrected</source>
      <translation>corregido</translation>
    </message>
    <message>
      <source>accepted</source>
      <translation>aceptado</translation>
    </message>
    <message>
      <source>rejected</source>
      <translation>rechazado</translation>
    </message>
    <message>
      <source>The figure needs the package matplotlib: install it at the top of this panel.</source>
      <translation>La gráfica necesita el paquete matplotlib: instálelo arriba en este panel.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.segment_section</name>
    <message>
      <source>trained on {n} slices ({kinds})</source>
      <translation>entrenado con {n} cortes ({kinds})</translation>
    </message>
    <message>
      <source>{name}: done in {seconds:.0f} s on {device}.</source>
      <translation>{name}: hecho en {seconds:.0f} s en {device}.</translation>
    </message>
    <message>
      <source>There is no model: add one from a file (button … beside the list).</source>
      <translation>No hay modelo: añada uno desde un archivo (botón … junto a la lista).</translation>
    </message>
    <message>
      <source>Models (*.safetensors)</source>
      <translation>Modelos (*.safetensors)</translation>
    </message>
    <message>
      <source>Add a model</source>
      <translation>Añadir un modelo</translation>
    </message>
    <message>
      <source>Choose a volume first.</source>
      <translation>Elija primero un volumen.</translation>
    </message>
    <message>
      <source>Measure the mask of {name}</source>
      <translation>Medir la máscara de {name}</translation>
    </message>
    <message>
      <source>Find the cord and measure it.</source>
      <translation>Encontrar la médula y medirla.</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Cancelar</translation>
    </message>
    <message>
      <source>The image of {name} was changed meanwhile: the result was not kept. Apply again.</source>
      <translation>La imagen de {name} cambió mientras tanto: el resultado no se guardó. Aplique de nuevo.</translation>
    </message>
    <message>
      <source>the CPU</source>
      <translation>el procesador</translation>
    </message>
    <message>
      <source>Apply</source>
      <translation>Aplicar</translation>
    </message>
    <message>
      <source>End the run.</source>
      <translation>Terminar la ejecución.</translation>
    </message>
    <message>
      <source>Cancelling…</source>
      <translation>Cancelando…</translation>
    </message>
    <message>
      <source>{n} of {all}</source>
      <translation>{n} de {all}</translation>
    </message>
    <message>
      <source>Apply to {name}</source>
      <translation>Aplicar a {name}</translation>
    </message>
    <message>
      <source>Install {size} and apply</source>
      <translation>Instalar {size} y aplicar</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.versions</name>
    <message>
      <source>This mask does not contain its autosave of {time}: “Earlier masks” restores it.</source>
      <translation>Esta máscara no contiene su autoguardado de {time}: «Anteriores» lo restaura.</translation>
    </message>
    <message>
      <source>Saved already.</source>
      <translation>Ya guardado.</translation>
    </message>
    <message>
      <source>Autosave in a folder…</source>
      <translation>Autoguardar en una carpeta…</translation>
    </message>
    <message>
      <source>Version {number}, {time}, {who}</source>
      <translation>Versión {number}, {time}, {who}</translation>
    </message>
    <message>
      <source>The mask of {time} was restored.</source>
      <translation>Se restauró la máscara de {time}.</translation>
    </message>
    <message>
      <source>Autosave no more</source>
      <translation>No autoguardar más</translation>
    </message>
    <message>
      <source>Restore {time}</source>
      <translation>Restaurar {time}</translation>
    </message>
    <message>
      <source>The mask that was changed last was NOT saved: {reason}</source>
      <translation>La última máscara cambiada NO se guardó: {reason}</translation>
    </message>
    <message>
      <source>Saved: {time}.</source>
      <translation>Guardado: {time}.</translation>
    </message>
    <message>
      <source>Folder for autosaves</source>
      <translation>Carpeta de autoguardado</translation>
    </message>
    <message>
      <source>No autosave yet</source>
      <translation>Aún sin autoguardado</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegWidgets.work_list</name>
    <message>
      <source>Case</source>
      <translation>Caso</translation>
    </message>
    <message>
      <source>State</source>
      <translation>Estado</translation>
    </message>
    <message>
      <source>To look at</source>
      <translation>Por ver</translation>
    </message>
    <message>
      <source>unreadable</source>
      <translation>ilegible</translation>
    </message>
    <message>
      <source>{left} of {all} cases open.</source>
      <translation>{left} de {all} casos abiertos.</translation>
    </message>
    <message>
      <source>Choose a folder of results first.</source>
      <translation>Elija primero una carpeta de resultados.</translation>
    </message>
    <message>
      <source>Every case of the list is accepted or rejected.</source>
      <translation>Todos los casos de la lista están aceptados o rechazados.</translation>
    </message>
    <message>
      <source>Open a case first.</source>
      <translation>Abra primero un caso.</translation>
    </message>
    <message>
      <source>This is not the case of the current mask: open it first.</source>
      <translation>No es el caso de la máscara actual: ábralo primero.</translation>
    </message>
    <message>
      <source>Folder of results</source>
      <translation>Carpeta de resultados</translation>
    </message>
    <message>
      <source>Folder of images</source>
      <translation>Carpeta de imágenes</translation>
    </message>
    <message>
      <source>{n} of {all}</source>
      <translation>{n} de {all}</translation>
    </message>
    <message>
      <source>{case} is stored.</source>
      <translation>{case} está guardado.</translation>
    </message>
    <message>
      <source>Case {n}: {case}.</source>
      <translation>Caso {n}: {case}.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegTrainer</name>
    <message>
      <source>1. Cases</source>
      <translation>1. Casos</translation>
    </message>
    <message>
      <source>Folder:</source>
      <translation>Carpeta:</translation>
    </message>
    <message>
      <source>Images and label maps: NAME beside NAME_seg or NAME.seg.nrrd, or BIDS with derivatives/labels.</source>
      <translation>Imágenes y mapas de etiquetas: NAME junto a NAME_seg o NAME.seg.nrrd, o BIDS con derivatives/labels.</translation>
    </message>
    <message>
      <source>…</source>
      <translation>…</translation>
    </message>
    <message>
      <source>Choose the folder.</source>
      <translation>Elegir la carpeta.</translation>
    </message>
    <message>
      <source>Cord is label:</source>
      <translation>Etiqueta:</translation>
    </message>
    <message>
      <source>Value of the cord in label maps with several labels.</source>
      <translation>Valor de la médula en mapas con varias etiquetas.</translation>
    </message>
    <message>
      <source>the only one</source>
      <translation>la única</translation>
    </message>
    <message>
      <source>Resample label maps</source>
      <translation>Remuestrear las etiquetas</translation>
    </message>
    <message>
      <source>A label map on another grid than its image is resampled, and the table shows it. Otherwise it is refused.</source>
      <translation>Un mapa de etiquetas en otra rejilla que su imagen se remuestrea, y la tabla lo indica. Si no, se rechaza.</translation>
    </message>
    <message>
      <source>Check the cases</source>
      <translation>Comprobar los casos</translation>
    </message>
    <message>
      <source>Click a row to see everything about that case.</source>
      <translation>Pulse una fila para ver todo sobre ese caso.</translation>
    </message>
    <message>
      <source>2. Settings</source>
      <translation>2. Ajustes</translation>
    </message>
    <message>
      <source>Name:</source>
      <translation>Nombre:</translation>
    </message>
    <message>
      <source>Name of the model.</source>
      <translation>Nombre del modelo.</translation>
    </message>
    <message>
      <source>Run folder:</source>
      <translation>Ejecución:</translation>
    </message>
    <message>
      <source>Slices, curves and weights are written here. One folder per run.</source>
      <translation>Aquí se escriben cortes, curvas y pesos. Una carpeta por ejecución.</translation>
    </message>
    <message>
      <source>Network:</source>
      <translation>Red:</translation>
    </message>
    <message>
      <source>RA-U-Net is the network of the paper; the others are its comparisons.</source>
      <translation>RA-U-Net es la red del artículo; las otras son sus comparaciones.</translation>
    </message>
    <message>
      <source>Epochs:</source>
      <translation>Épocas:</translation>
    </message>
    <message>
      <source>Passes over the training slices.</source>
      <translation>Pasadas por los cortes de entrenamiento.</translation>
    </message>
    <message>
      <source>Batch:</source>
      <translation>Lote:</translation>
    </message>
    <message>
      <source>Slices per update: fewer need less memory.</source>
      <translation>Cortes por paso: menos necesitan menos memoria.</translation>
    </message>
    <message>
      <source>Device:</source>
      <translation>Dispositivo:</translation>
    </message>
    <message>
      <source>Training on a processor takes days for a large data set.</source>
      <translation>En un procesador, entrenar con muchos datos tarda días.</translation>
    </message>
    <message>
      <source>Augment the slices</source>
      <translation>Variar los cortes</translation>
    </message>
    <message>
      <source>Rotation, scale, bending and contrast. Helps when there are few cases. The paper trained without it.</source>
      <translation>Rotación, escala, curvatura y contraste (aumento de datos). Ayuda con pocos casos. El artículo entrenó sin ello.</translation>
    </message>
    <message>
      <source>Further:</source>
      <translation>Otros:</translation>
    </message>
    <message>
      <source>Any other setting of the trainer: NAME=VALUE, separated by blanks.</source>
      <translation>Cualquier otro ajuste del entrenamiento: NOMBRE=VALOR, separados por espacios.</translation>
    </message>
    <message>
      <source>crop.size=128 patience=5</source>
      <translation>crop.size=128 patience=5</translation>
    </message>
    <message>
      <source>3. Learning rate</source>
      <translation>3. Tasa de aprendizaje</translation>
    </message>
    <message>
      <source>Range test:</source>
      <translation>Prueba:</translation>
    </message>
    <message>
      <source>Length of the range test in updates, at least 300.</source>
      <translation>Duración de la prueba de rango en pasos, al menos 300.</translation>
    </message>
    <message>
      <source>two epochs</source>
      <translation>dos épocas</translation>
    </message>
    <message>
      <source>Find the bounds</source>
      <translation>Buscar los límites</translation>
    </message>
    <message>
      <source>Loss over the learning rate. Dashed: the two bounds.</source>
      <translation>Pérdida (loss) según la tasa de aprendizaje. A trazos: los dos límites.</translation>
    </message>
    <message>
      <source>Bounds:</source>
      <translation>Límites:</translation>
    </message>
    <message>
      <source>Lower bound of the cyclical rate.</source>
      <translation>Límite inferior de la tasa cíclica.</translation>
    </message>
    <message>
      <source>Upper bound of the cyclical rate.</source>
      <translation>Límite superior de la tasa cíclica.</translation>
    </message>
    <message>
      <source>4. Training</source>
      <translation>4. Entrenamiento</translation>
    </message>
    <message>
      <source>Train</source>
      <translation>Entrenar</translation>
    </message>
    <message>
      <source>Resume</source>
      <translation>Reanudar</translation>
    </message>
    <message>
      <source>Continue the run in this folder where it was stopped.</source>
      <translation>Continuar la ejecución de esta carpeta donde se detuvo.</translation>
    </message>
    <message>
      <source>For each epoch: training loss, loss, Dice and Matthews correlation of the held-out patients, learning rate.</source>
      <translation>Por época: pérdida de entrenamiento; pérdida, Dice y correlación de Matthews de los pacientes reservados; tasa de aprendizaje.</translation>
    </message>
    <message>
      <source>5. Result</source>
      <translation>5. Resultado</translation>
    </message>
    <message>
      <source>Evaluate</source>
      <translation>Evaluar</translation>
    </message>
    <message>
      <source>Use this model</source>
      <translation>Usar modelo</translation>
    </message>
    <message>
      <source>Put the best model of this run into the list of models.</source>
      <translation>Poner el mejor modelo de esta ejecución en la lista de modelos.</translation>
    </message>
    <message>
      <source>Open the run folder</source>
      <translation>Abrir la carpeta</translation>
    </message>
    <message>
      <source>Show the folder of the run in the system’s file browser.</source>
      <translation>Mostrar la carpeta de la ejecución en el explorador de archivos.</translation>
    </message>
    <message>
      <source>Copy report</source>
      <translation>Copiar informe de error</translation>
    </message>
    <message>
      <source>Copy what happened, to ask for help. It contains no patient data.</source>
      <translation>Copiar lo ocurrido para pedir ayuda. No contiene datos del paciente.</translation>
    </message>
    <message>
      <source>Research use, not for diagnosis. Nothing is sent anywhere.</source>
      <translation>Uso en investigación, no para diagnóstico. No se envía nada.</translation>
    </message>
    <message>
      <source>Spinal Cord Segmentation Trainer</source>
      <translation>Segmentación de la médula espinal: entrenamiento</translation>
    </message>
    <message>
      <source>Trains a network of your own for Spinal Cord Segmentation from images and label maps (as ITK-SNAP or Slicer write them): checks the cases, finds the learning rate, trains, evaluates. Nothing leaves this computer.</source>
      <translation>Entrena una red propia para Spinal Cord Segmentation con imágenes y mapas de etiquetas (como los escriben ITK-SNAP o Slicer): comprueba los casos, busca la tasa de aprendizaje, entrena y evalúa. Nada sale de este equipo.</translation>
    </message>
    <message>
      <source>After Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4.</source>
      <translation>Según Bueno et al. 2022, J Digit Imaging 35:1131-1142, doi 10.1007/s10278-022-00637-4.</translation>
    </message>
    <message>
      <source>Tutorials and documentation</source>
      <translation>Tutoriales y documentación</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegTrainerWidgets.main_widget</name>
    <message>
      <source>{usable} of {cases} cases can be used: {patients}, {slices} slices with cord.</source>
      <translation>Se pueden usar {usable} de {cases} casos: {patients}, {slices} cortes con médula.</translation>
    </message>
    <message>
      <source>Cases: {done} of {of}</source>
      <translation>Casos: {done} de {of}</translation>
    </message>
    <message>
      <source>Range test: {done} of {of} updates</source>
      <translation>Prueba de rango: {done} de {of} pasos</translation>
    </message>
    <message>
      <source>Training: {done} of {of} updates</source>
      <translation>Entrenamiento: {done} de {of} pasos</translation>
    </message>
    <message>
      <source>{cases}: Dice per slice {dice}, MCC {mcc:.3f}
Area error per slice {area} %</source>
      <translation>{cases}: Dice por corte {dice}, MCC {mcc:.3f}
Error de área por corte {area} %</translation>
    </message>
    <message>
      <source>ok</source>
      <translation>correcto</translation>
    </message>
    <message>
      <source>1 patient</source>
      <translation>1 paciente</translation>
    </message>
    <message>
      <source>Check the cases</source>
      <translation>Comprobar los casos</translation>
    </message>
    <message>
      <source>Read every image and label map and list which can be used.</source>
      <translation>Leer cada imagen y mapa de etiquetas y listar cuáles se pueden usar.</translation>
    </message>
    <message>
      <source>Find the bounds</source>
      <translation>Buscar los límites</translation>
    </message>
    <message>
      <source>Raise the rate from 1e-7 to 1, twice, and see where the loss falls.</source>
      <translation>Subir la tasa dos veces de 1e-7 a 1 y ver dónde baja la pérdida.</translation>
    </message>
    <message>
      <source>Train</source>
      <translation>Entrenar</translation>
    </message>
    <message>
      <source>Train until all epochs are done, or validation gets no better.</source>
      <translation>Entrenar hasta completar las épocas o hasta que la validación no mejore.</translation>
    </message>
    <message>
      <source>Evaluate</source>
      <translation>Evaluar</translation>
    </message>
    <message>
      <source>Score the best model on the patients that were held out.</source>
      <translation>Evaluar el mejor modelo con los pacientes reservados.</translation>
    </message>
    <message>
      <source>1 held-out case</source>
      <translation>1 caso reservado</translation>
    </message>
    <message>
      <source>not known</source>
      <translation>no se sabe</translation>
    </message>
    <message>
      <source>“Resample label maps”</source>
      <translation>“Remuestrear las etiquetas”</translation>
    </message>
    <message>
      <source>A learning rate is a number above 0, for example 1e-5.</source>
      <translation>Una tasa de aprendizaje es un número mayor que 0, por ejemplo 1e-5.</translation>
    </message>
    <message>
      <source>The lower learning rate must not be above the upper one.</source>
      <translation>La tasa inferior no puede superar a la superior.</translation>
    </message>
    <message>
      <source>Choose the folder of images and label maps first.</source>
      <translation>Elija primero la carpeta de imágenes y mapas de etiquetas.</translation>
    </message>
    <message>
      <source>There is no trained model in the run folder yet.</source>
      <translation>Aún no hay un modelo entrenado en la carpeta de ejecución.</translation>
    </message>
    <message>
      <source>Check the cases first.</source>
      <translation>Compruebe primero los casos.</translation>
    </message>
    <message>
      <source>At least two patients are needed: one to train on, one to validate.</source>
      <translation>Se necesitan al menos dos pacientes: uno para entrenar y otro para validar.</translation>
    </message>
    <message>
      <source>Choose a folder for the run first.</source>
      <translation>Elija primero una carpeta de ejecución.</translation>
    </message>
    <message>
      <source>This folder holds a run already: resume it, or choose another folder.</source>
      <translation>Esta carpeta ya contiene una ejecución: reanúdela o elija otra carpeta.</translation>
    </message>
    <message>
      <source>End after this update and save: the run can be resumed. Press again to end it unsaved.</source>
      <translation>Terminar tras este paso y guardar: la ejecución se puede reanudar. Pulse otra vez para terminar sin guardar.</translation>
    </message>
    <message>
      <source>Cancelling…</source>
      <translation>Cancelando…</translation>
    </message>
    <message>
      <source>Stopping after this update, then saving…</source>
      <translation>Se detiene tras este paso y guarda…</translation>
    </message>
    <message>
      <source>Starting PyTorch…</source>
      <translation>Iniciando PyTorch…</translation>
    </message>
    <message>
      <source>Cannot be used: {reason}</source>
      <translation>No se puede usar: {reason}</translation>
    </message>
    <message>
      <source>{case}, patient {subject}</source>
      <translation>{case}, paciente {subject}</translation>
    </message>
    <message>
      <source>{n} patients</source>
      <translation>{n} pacientes</translation>
    </message>
    <message>
      <source>{n} held-out cases</source>
      <translation>{n} casos reservados</translation>
    </message>
    <message>
      <source>Case</source>
      <translation>Caso</translation>
    </message>
    <message>
      <source>Slices</source>
      <translation>Cortes</translation>
    </message>
    <message>
      <source>mm²</source>
      <translation>mm²</translation>
    </message>
    <message>
      <source>Verdict</source>
      <translation>Resultado</translation>
    </message>
    <message>
      <source>Wait until the run has ended, or stop it.</source>
      <translation>Espere a que termine la ejecución, o deténgala.</translation>
    </message>
    <message>
      <source>Stop at once</source>
      <translation>Detener ya</translation>
    </message>
    <message>
      <source>Stop</source>
      <translation>Detener</translation>
    </message>
    <message>
      <source>Cancelled.</source>
      <translation>Cancelado.</translation>
    </message>
    <message>
      <source>Stopped and saved; Resume continues from here.</source>
      <translation>Detenido y guardado; Reanudar continúa desde aquí.</translation>
    </message>
    <message>
      <source>The model “{name}” can now be chosen in Spinal Cord Segmentation.</source>
      <translation>El modelo “{name}” ya se puede elegir en Spinal Cord Segmentation.</translation>
    </message>
    <message>
      <source>Image: {grid}</source>
      <translation>Imagen: {grid}</translation>
    </message>
    <message>
      <source>Labels found: {labels}</source>
      <translation>Etiquetas encontradas: {labels}</translation>
    </message>
    <message>
      <source>Cancel</source>
      <translation>Cancelar</translation>
    </message>
    <message>
      <source>End it now.</source>
      <translation>Terminar ahora.</translation>
    </message>
    <message>
      <source>{text}, loss {loss:.3f}</source>
      <translation>{text}, pérdida {loss:.3f}</translation>
    </message>
    <message>
      <source>Images and label maps</source>
      <translation>Imágenes y mapas de etiquetas</translation>
    </message>
    <message>
      <source>Folder for the run</source>
      <translation>Carpeta de ejecución</translation>
    </message>
    <message>
      <source>Training ended: {reason}.</source>
      <translation>Entrenamiento terminado: {reason}.</translation>
    </message>
  </context>
  <context>
    <name>SpinalCordSegTrainerWidgets.pytorch</name>
    <message>
      <source>Safetensors is needed to train, and is not installed.</source>
      <translation>Safetensors hace falta para entrenar y no está instalado.</translation>
    </message>
    <message>
      <source>PyTorch is removed and downloaded anew (0.2 to 3 GB). Other extensions may use it too. Go on?</source>
      <translation>PyTorch se quita y se descarga de nuevo (0,2 a 3 GB). Otras extensiones pueden usarlo también. ¿Continuar?</translation>
    </message>
    <message>
      <source>PyTorch is needed to train, and is not installed. It is a download of 0.2 to 3 GB.</source>
      <translation>PyTorch hace falta para entrenar y no está instalado. La descarga es de 0,2 a 3 GB.</translation>
    </message>
    <message>
      <source>Nothing was changed.</source>
      <translation>No se cambió nada.</translation>
    </message>
    <message>
      <source>PyTorch was not installed. See the Python console (View menu).</source>
      <translation>PyTorch no se instaló. Vea la consola de Python (menú View).</translation>
    </message>
    <message>
      <source>PyTorch is installed.</source>
      <translation>PyTorch está instalado.</translation>
    </message>
    <message>
      <source>PyTorch is replaced: restart Slicer.</source>
      <translation>PyTorch está reemplazado: reinicie Slicer.</translation>
    </message>
    <message>
      <source>Install PyTorch…</source>
      <translation>Instalar PyTorch…</translation>
    </message>
    <message>
      <source>Replace PyTorch…</source>
      <translation>Reemplazar PyTorch…</translation>
    </message>
    <message>
      <source>Install the extension “PyTorch” first: View menu, Extensions Manager, search for PyTorch. Restart Slicer and come back here.</source>
      <translation>Instale primero la extensión “PyTorch”: menú View, Extensions Manager, busque PyTorch. Reinicie Slicer y vuelva aquí.</translation>
    </message>
    <message>
      <source>PyTorch {version} does not fit: {wanted} is needed.</source>
      <translation>PyTorch {version} no sirve: se necesita {wanted}.</translation>
    </message>
  </context>
</TS>
