"""Segment every image of a folder; one table with a row a neck, and a page on all of them.

python cohort_table.py images results

`spinalcordseg segment images --output results` does the same, and also names cases by a code, keeps finished ones and
takes discs from a table. Write the loop yourself where you want another table.
"""

import csv
import sys
from pathlib import Path

from SpinalCordSegLib import SpinalCordSegError, read_work_list, save_case, segment, write_cohort

images, results = map(Path, sys.argv[1:])
columns = ["case", "c2_c3_mean_csa_mm2", "mean_csa_mm2", "volume_mm3", "imputed_share", "contrast", "flags"]

results.mkdir(parents=True, exist_ok=True)
with open(results / "table.csv", "w", newline="", encoding="utf-8") as file:
    table = csv.DictWriter(file, columns, extrasaction="ignore")
    table.writeheader()
    for image in sorted(images.glob("*.nii.gz")):
        try:
            case = segment(image)
            save_case(case, results / case.name)
        except SpinalCordSegError as error:  # what was found, and what to do; one bad image stops no other
            print(error)  # here alone: it names the file, which may be called after a patient
        else:
            table.writerow(case.summary_row())  # no value is written for what was not measured

# cohort.html: outliers by name, groups with intervals; rejected and doubled cases are left out and listed.
for remark in write_cohort(read_work_list(results), results):
    print(remark)
