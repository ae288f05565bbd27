"""Segment one neck, measure it, and compare with a mask drawn by hand.

python segment_and_measure.py neck.nii.gz mask.nii.gz results/neck
"""

import sys
from pathlib import Path

from SpinalCordSegLib import Case, measure, save_case, segment

image, by_hand, folder = map(Path, sys.argv[1:])

case = segment(image)  # a file, or the folder of a DICOM series; a Case also where no cord is found
print(f"{case.volume_mm3:.0f} mm³, {case.length_mm:.0f} mm long, mean area {case.mean_csa_mm2:.1f} mm²")
for flag in case.flags:
    print("look at:", flag.message)

table = case.slices  # columns with one value a slice, from inferior to superior
for number, area, is_imputed in zip(table.slice, table.csa_mm2, table.is_imputed, strict=True):
    print(f"slice {number}: {area:.1f} mm²" + (", imputed: the image shows no edge there" if is_imputed else ""))

print("discs:", case.discs_from or "none")  # those that the program found are to be confirmed: look at them
for level in case.levels.rows if case.levels is not None else ():
    print(f"{level.name}: {level.mean_csa_mm2:.1f} mm²")

save_case(case, folder)  # the folder that the command writes; what a person corrected is never replaced
drawn = measure(by_hand, image=image)
print(f"by hand {drawn.mean_csa_mm2 - Case.load(folder).mean_csa_mm2:+.1f} mm²")
