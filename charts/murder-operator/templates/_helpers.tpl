{{- define "murder-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "murder-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "murder-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "murder-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "murder-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "murder-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: murder
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "murder-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "murder-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* An image by digest if there is one, else by tag. */}}
{{- define "murder-operator.image" -}}
{{- $image := index . 0 }}
{{- $root := index . 1 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- define "murder-operator.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "murder-operator.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end }}

{{/* Users that the admission policies let pass, as a list in CEL. */}}
{{- define "murder-operator.exemptUsers" -}}
{{- $own := printf "system:serviceaccount:%s:%s" .Release.Namespace (include "murder-operator.serviceAccountName" .) }}
{{- $known := list $own "system:kube-controller-manager" }}
{{- range list "generic-garbage-collector" "namespace-controller" "statefulset-controller" "deployment-controller" }}
{{- $known = append $known (printf "system:serviceaccount:kube-system:%s" .) }}
{{- end }}
{{- concat $known .Values.admissionPolicies.exemptUsers | toJson }}
{{- end }}

{{/* What the operator may do where the murders are. */}}
{{- define "murder-operator.rules" -}}
- apiGroups: [murder.rs]
  resources: [murderclusters, frontends]
  verbs: [get, list, watch, patch]
- apiGroups: [murder.rs]
  resources: [backends]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [murder.rs]
  resources: [murderclusters/status, backends/status, frontends/status]
  verbs: [patch]
- apiGroups: [murder.rs]
  resources: [murderclusters/finalizers, backends/finalizers, frontends/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, update]
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.rbac.monitoring }}
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [create, patch]
{{- end }}
{{- if .Values.rbac.certManager }}
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [create, patch]
{{- end }}
{{- end }}
